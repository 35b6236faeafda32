"""How commands and log lines say numbers of things."""

from __future__ import annotations


def counted(number: int, thing: str, things: str = "") -> str:
    """`1 call`, `1,200 calls`.

    Args:
        number: How many there are.
        thing: What one of them is called.
        things: What several are called, where that is not `thing` with an s.
    """
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"

"""The body of an `InvokeModel` answer: read once for us, and given to the caller again as what it was."""

from __future__ import annotations

import io
from typing import Any

_PIECE_BYTES = 65_536


class _Replay(io.BytesIO):
    """What had come of a body, and then the error that came instead of the rest."""

    def __init__(self, data: bytes, error: Exception) -> None:
        super().__init__(data)
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        """As the body itself would have: pieces as long as there are any, the error then, and at once to who wants it whole."""
        piece = super().read(size) if size is not None and size >= 0 else b""
        if piece or size == 0:
            return piece
        raise self._error


def read_body(body: Any) -> tuple[bytes, Exception | None]:
    """All of a `StreamingBody`, and what it raised if it did not come whole."""
    pieces: list[bytes] = []
    try:
        while piece := body.read(_PIECE_BYTES):
            pieces.append(piece)
    except Exception as error:
        body.close()
        return b"".join(pieces), error
    return b"".join(pieces), None


def again(body: Any, data: bytes, error: Exception | None) -> Any:
    """A body of the same type that gives what the first one gave."""
    if error is None:
        return type(body)(io.BytesIO(data), len(data))
    return type(body)(_Replay(data, error), None)


class _Content:
    """An aiohttp response's `content`, from memory."""

    def __init__(self, source: io.BytesIO) -> None:
        self._source = source

    async def read(self, size: int = -1) -> bytes:
        """As `aiohttp.StreamReader.read`."""
        return self._source.read(size)

    def at_eof(self) -> bool:
        """True when all was read."""
        return self._source.tell() == len(self._source.getbuffer())


class _Response:
    """As much of an aiohttp response as an async body reads; everything else is the response's own."""

    def __init__(self, response: Any, source: io.BytesIO) -> None:
        self._response, self.content = response, _Content(source)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_response"], name)


async def read_body_async(body: Any) -> tuple[bytes, Exception | None]:
    """The same for aiobotocore's."""
    pieces: list[bytes] = []
    try:
        while piece := await body.read(_PIECE_BYTES):
            pieces.append(piece)
    except Exception as error:
        return b"".join(pieces), error
    return b"".join(pieces), None


def raw_response(body: Any) -> Any:
    """The aiohttp response under an async body, which old versions of aiobotocore make a proxy around it; None: another library's."""
    raw = getattr(body, "_raw_stream", None) or getattr(body, "__wrapped__", None)
    return raw if hasattr(getattr(raw, "content", None), "at_eof") else None


def rewind_async(body: Any, data: bytes, error: Exception | None) -> None:
    """Lets an async body be read once more; it stays the object it is."""
    response = _Response(raw_response(body), io.BytesIO(data) if error is None else _Replay(data, error))
    if not hasattr(body, "_raw_stream"):
        body.__wrapped__, body._self_amount_read = response, 0
        if error is not None:
            body._self_content_length = None
        return
    body._raw_stream, body._amount_read = response, 0
    if error is not None:
        body._content_length = None

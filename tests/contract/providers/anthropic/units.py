"""What reads the usage of Claude's answers, for docs/units.md."""

from __future__ import annotations

from units_page import COUNT, Readers

from payi_otel.instrumentors import _claude

READERS: Readers = {
    "Claude, whoever serves it": (lambda usage: _claude.read_usage(usage, "claude-opus-5"), {"input_tokens": 0, "output_tokens": COUNT}),
}

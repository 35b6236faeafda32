"""The `payi-otel` command as it is installed beside the Python that runs the tests."""

from __future__ import annotations

import sys
from pathlib import Path

PAYI_OTEL = (str(Path(sys.executable).with_name("payi-otel")),)

"""Variables that `opentelemetry-instrument` takes as flags: `--payi_user_id ada` for `PAYI_OTEL_USER_ID=ada`, and so on.

The launcher makes a flag of every name here that begins with `OTEL_`, leaving out every `OTEL_` in it, and sets a variable of that name,
which counts before the plain one. A key is better kept out of the command line, which every user of the machine can read.
"""

from __future__ import annotations

from payi_otel._environ import FLAG_PREFIX
from payi_otel.clients import API_KEY_VARIABLE, BASE_URL_VARIABLE
from payi_otel.config import FILE_VARIABLE, describe

_VARIABLES = (API_KEY_VARIABLE, BASE_URL_VARIABLE, FILE_VARIABLE, *(row.variable for row in describe() if row.variable))

globals().update({FLAG_PREFIX + name: FLAG_PREFIX + name for name in _VARIABLES})

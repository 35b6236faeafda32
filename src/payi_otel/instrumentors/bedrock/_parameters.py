"""What a Bedrock call asks for: Converse's configuration, and the bodies of the model families.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from payi_otel import semconv
from payi_otel.instrumentors._parameters import output_type, read_parameters
from payi_otel.instrumentors._values import get

_MAX_READ_BYTES = 65_536
"""A longer body is not read in the call for its parameters: it would take longer than all the rest of ours (25 us at 26 KB)."""
_TEMPERATURE, _TOP_P, _TOP_K = semconv.REQUEST_TEMPERATURE, semconv.REQUEST_TOP_P, semconv.REQUEST_TOP_K
_MAX_TOKENS, _STOP = semconv.REQUEST_MAX_TOKENS, semconv.REQUEST_STOP_SEQUENCES
_CONFIG = {
    "temperature": _TEMPERATURE,
    "topP": _TOP_P,
    "top_p": _TOP_P,
    "topK": _TOP_K,
    "top_k": _TOP_K,
    "maxTokens": _MAX_TOKENS,
    "max_new_tokens": _MAX_TOKENS,
    "maxTokenCount": _MAX_TOKENS,
    "stopSequences": _STOP,
}
_FIELDS = {
    **_CONFIG,
    "p": _TOP_P,
    "k": _TOP_K,
    "max_tokens": _MAX_TOKENS,
    "max_completion_tokens": _MAX_TOKENS,
    "max_tokens_to_sample": _MAX_TOKENS,
    "max_gen_len": _MAX_TOKENS,
    "stop_sequences": _STOP,
    "stop": _STOP,
    "seed": semconv.REQUEST_SEED,
    "frequency_penalty": semconv.REQUEST_FREQUENCY_PENALTY,
    "presence_penalty": semconv.REQUEST_PRESENCE_PENALTY,
    "reasoning_effort": semconv.REQUEST_REASONING_LEVEL,
    "dimensions": semconv.EMBEDDINGS_DIMENSION_COUNT,
}
_CONFIGS = ("textGenerationConfig", "inferenceConfig")
"""Objects that hold them in some families' bodies."""
_ADDITIONAL = {"top_k": _TOP_K, "topK": _TOP_K, "k": _TOP_K, "seed": semconv.REQUEST_SEED}
# Of a body only these fields are made objects of: reading on past the prompt takes a fraction of what parsing it does.
_Body = msgspec.defstruct("_Body", [(name, Any, None) for name in (*_FIELDS, *_CONFIGS, "response_format")])
_decode = msgspec.json.Decoder(_Body).decode


def converse_parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """Of Converse's `inferenceConfig`, `outputConfig` and `additionalModelRequestFields`."""
    more, output = params.get("additionalModelRequestFields"), params.get("outputConfig")
    return {
        **read_parameters(get(more, "inferenceConfig"), _ADDITIONAL),
        **read_parameters(more, _ADDITIONAL),
        **read_parameters(params.get("inferenceConfig"), _CONFIG),
        **read_parameters(output, {"effort": semconv.REQUEST_REASONING_LEVEL}),
        **output_type(get(output, "textFormat")),
    }


def body_parameters(body: Any) -> dict[str, Any]:
    """Of an `InvokeModel` body, in whatever family's words."""
    if not isinstance(body, bytes | bytearray | str) or len(body) > _MAX_READ_BYTES:
        return {}
    try:
        read: Any = _decode(body)
    except (msgspec.DecodeError, UnicodeError):
        return {}
    attributes = read_parameters(read, _FIELDS)
    for name in _CONFIGS:
        attributes.update(read_parameters(getattr(read, name), _CONFIG))
    return {**attributes, **output_type(read.response_format)}

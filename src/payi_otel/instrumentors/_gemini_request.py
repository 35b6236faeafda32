"""What Gemini is asked for, through whichever SDK: the parameters in a generation's configuration.

Source: https://ai.google.dev/api/generate-content#generationconfig
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from payi_otel import semconv
from payi_otel.instrumentors._parameters import output_type, read_parameters
from payi_otel.instrumentors._values import get


def both_spellings(names: Mapping[str, str]) -> dict[str, str]:
    """The same names as they are in Python and in JSON."""
    spelled: dict[str, str] = {}
    for name, attribute in names.items():
        head, *rest = name.split("_")
        spelled[head + "".join(part.capitalize() for part in rest)] = attribute
        spelled[name] = attribute
    return spelled


_PARAMETERS = both_spellings(
    {
        "temperature": semconv.REQUEST_TEMPERATURE,
        "top_p": semconv.REQUEST_TOP_P,
        "top_k": semconv.REQUEST_TOP_K,
        "max_output_tokens": semconv.REQUEST_MAX_TOKENS,
        "candidate_count": semconv.REQUEST_CHOICE_COUNT,
        "stop_sequences": semconv.REQUEST_STOP_SEQUENCES,
        "presence_penalty": semconv.REQUEST_PRESENCE_PENALTY,
        "frequency_penalty": semconv.REQUEST_FREQUENCY_PENALTY,
        "seed": semconv.REQUEST_SEED,
        "thinking_level": semconv.REQUEST_REASONING_LEVEL,
    }
)
_THINKING = both_spellings({"thinking_level": semconv.REQUEST_REASONING_LEVEL})
_MODALITIES = {"image": "image", "audio": "speech"}


def config_parameters(config: Any) -> dict[str, Any]:
    """The request's attributes, of a configuration as an object or as a dictionary."""
    if config is None:
        return {}
    form = _either(config, "response_mime_type", "responseMimeType")
    modalities = _either(config, "response_modalities", "responseModalities")
    return {
        **read_parameters(config, _PARAMETERS),
        **read_parameters(_either(config, "thinking_config", "thinkingConfig"), _THINKING),
        **output_type(form),
        **_modality(modalities),
    }


def _modality(modalities: Any) -> dict[str, str]:
    """An answer that is to be an image or speech, also where a text may come beside it."""
    for modality in modalities if isinstance(modalities, list | tuple) else ():
        kind = _MODALITIES.get(str(getattr(modality, "value", modality)).lower())
        if kind is not None:
            return {semconv.OUTPUT_TYPE: kind}
    return {}


def _either(config: Any, name: str, twin: str) -> Any:
    value = get(config, name)
    return value if value is not None else get(config, twin)

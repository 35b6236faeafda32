"""What a request asks for, as span attributes of the types the conventions give them: a temperature of 1 is the double 1.0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from payi_otel import semconv
from payi_otel.instrumentors._values import fields_of, get

_MAX_INT64 = 2**63 - 1
"""OTLP's bound: an exporter of the application's would lose a whole batch of spans to a larger number."""
_JSON_FORMATS = frozenset({"json_object", "json_schema", "json", "application/json"})
_TEXT_FORMATS = frozenset({"text", "text/plain"})


def _double(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and type(value) is not bool else None


def _integer(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():  # Gemini's `top_k` is one
        value = int(value)
    return value if type(value) is int and -_MAX_INT64 <= value <= _MAX_INT64 else None


def _text(value: Any) -> str | None:
    value = getattr(value, "value", value)  # an enum's
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> tuple[str, ...] | None:
    texts = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else ()
    return texts if texts and all(isinstance(text, str) for text in texts) else None


def _choices(value: Any) -> int | None:
    return None if value == 1 else _integer(value)


_READERS: dict[str, Callable[[Any], Any]] = {
    semconv.REQUEST_TEMPERATURE: _double,
    semconv.REQUEST_TOP_P: _double,
    semconv.REQUEST_FREQUENCY_PENALTY: _double,
    semconv.REQUEST_PRESENCE_PENALTY: _double,
    semconv.REQUEST_TOP_K: _integer,
    semconv.REQUEST_MAX_TOKENS: _integer,
    semconv.REQUEST_SEED: _integer,
    semconv.EMBEDDINGS_DIMENSION_COUNT: _integer,
    semconv.REQUEST_CHOICE_COUNT: _choices,
    semconv.REQUEST_STOP_SEQUENCES: _texts,
    semconv.REQUEST_ENCODING_FORMATS: _texts,
}


def read_parameters(source: Any, names: Mapping[str, str]) -> dict[str, Any]:
    """The attributes of a request's parameters.

    Args:
        source: An SDK object or its JSON.
        names: The attribute of each of the source's fields; what an SDK puts in place of what was not given is left out.
    """
    if isinstance(source, dict) and names.keys().isdisjoint(source):  # most calls ask for none of them
        return {}
    attributes: dict[str, Any] = {}
    fields = fields_of(source)
    for name, attribute in names.items():
        value = fields.get(name)
        if value is None:
            continue
        reader: Callable[[Any], Any] = _READERS.get(attribute, _text)
        if (value := reader(value)) is not None:
            attributes[attribute] = value
    return attributes


def with_extra_body(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keyword arguments with those of `extra_body`, which win in the SDKs, too."""
    body = kwargs.get("extra_body")
    return {**kwargs, **body} if body is not None and isinstance(body, Mapping) else kwargs


def output_type(form: Any) -> dict[str, str]:
    """`gen_ai.output.type` of a response format: a name, an object with a `type`, or the class that an answer is parsed into."""
    if isinstance(form, type):
        return {semconv.OUTPUT_TYPE: "json"}
    name = _text(get(form, "type")) or _text(form)
    if name in _JSON_FORMATS:
        return {semconv.OUTPUT_TYPE: "json"}
    return {semconv.OUTPUT_TYPE: "text"} if name in _TEXT_FORMATS else {}

"""A query of a Databricks serving endpoint, of the control plane and of the data plane."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from payi_otel import semconv
from payi_otel._hosts import databricks_category
from payi_otel._json import to_json
from payi_otel._large import Marks
from payi_otel.instrumentors._client_facts import facts_at
from payi_otel.instrumentors._content import CallContent, texts_in
from payi_otel.instrumentors._endpoint import read_endpoint
from payi_otel.instrumentors._invocation import Answer, Invocation, Request
from payi_otel.instrumentors._operation import Failure, Operation
from payi_otel.instrumentors._parameters import read_parameters
from payi_otel.instrumentors._values import count_of, get
from payi_otel.packets.units import TEXT, Units, UnitSource, Usage
from payi_otel.payload import ContentReader, FunctionCall

_API = "Databricks serving endpoints"
UNIT_SOURCES = (UnitSource(_API, TEXT, "input", "prompt_tokens"), UnitSource(_API, TEXT, "output", "completion_tokens"))
_PARAMETERS = {
    "temperature": semconv.REQUEST_TEMPERATURE,
    "max_tokens": semconv.REQUEST_MAX_TOKENS,
    "n": semconv.REQUEST_CHOICE_COUNT,
    "stop": semconv.REQUEST_STOP_SEQUENCES,
}
_NO_TEXT = frozenset({"role", "type", "id", "object"})
"""Keys whose values are no tokens of text."""


class DatabricksContent(CallContent):
    """The content of a query; the SDK's own objects say themselves as JSON by `as_dict`."""

    call_marks = Marks()

    def to_json_value(self, value: Any) -> Any:
        """As the SDK sends and reads it."""
        return value.as_dict() if hasattr(value, "as_dict") else super().to_json_value(value)

    def prompt_texts(self, request: Any) -> Iterator[str]:
        """Whatever the endpoint takes: messages, a prompt, inputs."""
        if isinstance(request, dict):
            yield from texts_in([request.get(key) for key in ("messages", "prompt", "input", "inputs")], _NO_TEXT)

    def said(self, answer: Any) -> Iterator[str]:
        """The choices' words, or predictions."""
        if isinstance(answer, dict):
            yield from texts_in([answer.get("choices"), answer.get("predictions")], _NO_TEXT)

    def read_function_calls(self, answers: Sequence[Any]) -> Iterator[FunctionCall]:
        """The SDK's type of a choice has no tool calls."""
        return iter(())


class Query(Operation):
    """`query(name, ...)`."""

    def read_request(self, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """The endpoint's name is the model's."""
        host = getattr(getattr(getattr(instance, "_api", None), "_cfg", None), "host", None)
        endpoint = read_endpoint(host if isinstance(host, str) else "")
        name = args[0] if args else kwargs.get("name")
        request = Request(
            client=facts_at(endpoint, "databricks", databricks_category(endpoint.host), base_path="/serving-endpoints"),
            model=name if isinstance(name, str) and name else None,
            args=args,
            kwargs=kwargs,
            attributes=read_parameters(kwargs, _PARAMETERS),
            stream=False,
        )
        if kwargs.get("input") is not None:
            request.operation = "embeddings"
        return request

    def read_answer(self, result: Any) -> Answer:
        """Reads a `QueryEndpointResponse`."""
        usage, problems = get(result, "usage"), list[str]()
        reasons = [str(reason) for choice in get(result, "choices") or () if (reason := get(choice, "finish_reason"))]
        answer = Answer(
            response_id=get(result, "id") or None,
            model=get(result, "model") or get(result, "served_model_name") or None,
            finish_reasons=reasons,
        )
        counts = [get(usage, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
        if all(count is None for count in counts):
            return answer
        total_in, total_out, total = (count_of(usage, name, problems) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
        if counts[0] is None and total > total_out:
            total_in = total - total_out
        elif counts[1] is None and total > total_in:
            total_out = total - total_in
        mismatch = "; ".join(problems) or None
        used = Usage({TEXT: Units(total_in, total_out)}, total_in, total_out, mismatch=mismatch)
        return Answer(answer.response_id, answer.model, answer.finish_reasons, used)

    def content(self, invocation: Invocation, result: Any) -> ContentReader:
        """A snapshot of what was asked, and the SDK's object of what came."""
        asked = {name: _plain(value) for name, value in invocation.request.kwargs.items() if value is not None and name != "name"}
        return DatabricksContent(to_json(asked), [] if result is None else [to_json(result.as_dict())], streamed=False)

    def read_failure(self, invocation: Invocation, error: BaseException) -> Failure:
        """The SDK tells an error's HTTP status by its class alone, and adds its configuration to the message."""
        platform = sys.modules.get("databricks.sdk.errors.platform")
        statuses: Mapping[int, type] = getattr(platform, "STATUS_CODE_MAPPING", {})
        status = next((number for number, kind in statuses.items() if isinstance(error, kind)), None)
        if status is not None:
            said = {"error_code": getattr(error, "error_code", None), "message": str(error).partition(". Config: ")[0]}
            invocation.payload.error_body = to_json(said).decode()
        return Answer(), None, status


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.as_dict() if hasattr(value, "as_dict") else value

"""What is wrapped of botocore, on which boto3 stands, and of aiobotocore.

Both are wrapped where every client's every call passes, so clients made before or after, from any session, count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from payi_otel._guard import guard
from payi_otel.instrumentors._base import Patch, Table
from payi_otel.instrumentors._capture import current_exchange, send_without_baggage, send_without_baggage_async
from payi_otel.instrumentors._claude import UNIT_SOURCES as CLAUDE_SOURCES
from payi_otel.instrumentors._wrapper import Binding, async_wrapper, sync_wrapper
from payi_otel.instrumentors.bedrock._body import again, raw_response, read_body, read_body_async, rewind_async
from payi_otel.instrumentors.bedrock._http import ROUTES
from payi_otel.instrumentors.bedrock._operations import (
    ApplyGuardrail,
    BedrockOperation,
    Converse,
    ConverseStream,
    InvokeModel,
    InvokeModelWithResponseStream,
)
from payi_otel.instrumentors.bedrock._usage import UNIT_SOURCES

_OPERATIONS: dict[str, type[BedrockOperation]] = {
    "ApplyGuardrail": ApplyGuardrail,
    "Converse": Converse,
    "ConverseStream": ConverseStream,
    "InvokeModel": InvokeModel,
    "InvokeModelWithResponseStream": InvokeModelWithResponseStream,
}
_SERVICE = "bedrock-runtime"
_SERVICES = "bedrock"
"""How the names of all of Bedrock's services begin; what goes to others of AWS is the application's own affair."""


def capture_body(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps `Endpoint.make_request`, sync or async: the bytes that are about to be sent."""
    exchange = current_exchange.get()
    if exchange is not None and _is_models(args[0] if args else kwargs.get("operation_model")):
        with guard("reading a request's body"):
            body = (args[1] if len(args) > 1 else kwargs["request_dict"]).get("body")
            if isinstance(body, bytes | str):
                exchange.sent = body if isinstance(body, bytes) else body.encode()
    return wrapped(*args, **kwargs)


def redirect(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps `Endpoint.prepare_request`: the request has been signed, and is about to be sent. Each retry comes by here anew."""
    exchange = current_exchange.get()
    if exchange is not None and exchange.route is not None:
        with guard("sending a call to the proxy"):
            exchange.route.apply_aws(args[0] if args else kwargs["request"])
    return wrapped(*args, **kwargs)


def capture_answer(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wraps botocore's `convert_to_response_dict`: what the proxy adds to an answer is parsed by nobody."""
    response = wrapped(*args, **kwargs)
    _note_answer(response, args[1] if len(args) > 1 else kwargs.get("operation_model"))
    return response


async def capture_answer_async(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same of aiobotocore."""
    response = await wrapped(*args, **kwargs)
    _note_answer(response, args[1] if len(args) > 1 else kwargs.get("operation_model"))
    return response


def _is_models(operation_model: Any) -> bool:
    """Whether an operation is one of the runtime's: within a call, credentials are asked for of other services."""
    return getattr(getattr(operation_model, "service_model", None), "service_name", None) == _SERVICE


def _note_answer(response: Any, operation_model: Any) -> None:
    exchange = current_exchange.get()
    if exchange is not None and exchange.route is not None and _is_models(operation_model):
        body = response.get("body")
        exchange.proxied_body = body if isinstance(body, bytes) else None


def _is_bedrock(instance: Any) -> bool:
    return str(instance.meta.service_model.service_name).startswith(_SERVICES)


def _wrapper_for(instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], wrappers: dict[str, Any]) -> Any:
    """The wrapper of a call's operation; None where the call is none of a model."""
    wrapper = wrappers.get(str(args[0] if args else kwargs.get("operation_name")))
    return wrapper if wrapper is not None and instance.meta.service_model.service_name == _SERVICE else None


def wrap_sync(binding: Binding) -> Callable[..., Any]:
    """A wrapper for `BaseClient._make_api_call`."""
    wrappers = {name: sync_wrapper(operation(binding), binding) for name, operation in _OPERATIONS.items()}

    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not binding.active or not _is_bedrock(instance):
            return wrapped(*args, **kwargs)
        wrapper = _wrapper_for(instance, args, kwargs, wrappers)
        if wrapper is None:
            return send_without_baggage(wrapped, instance, args, kwargs)
        return wrapper(_with_body_read(partial(_send, wrapped)), instance, args, kwargs)

    return call


def wrap_async(binding: Binding) -> Callable[..., Any]:
    """A wrapper for `AioBaseClient._make_api_call`."""
    wrappers = {name: async_wrapper(operation(binding), binding) for name, operation in _OPERATIONS.items()}

    def call(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not binding.active or not _is_bedrock(instance):
            return wrapped(*args, **kwargs)
        wrapper = _wrapper_for(instance, args, kwargs, wrappers)
        if wrapper is None:
            return send_without_baggage_async(wrapped, instance, args, kwargs)
        return wrapper(partial(_with_body_read_async, partial(_send_async, wrapped)), instance, args, kwargs)

    return call


def _send(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return send_without_baggage(wrapped, None, args, kwargs)


def _send_async(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return send_without_baggage_async(wrapped, None, args, kwargs)


def _with_body_read(wrapped: Callable[..., Any]) -> Callable[..., Any]:
    """The call, and within it the reading of a body: what comes late belongs to the call's time and to its record."""

    def call(*args: Any, **kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        body, exchange = result.get("body"), current_exchange.get()
        if exchange is not None and hasattr(body, "iter_chunks"):
            with guard("reading a body"):
                data, error = read_body(body)
                exchange.received = data
                result["body"] = again(body, data, error)
        return result

    return call


async def _with_body_read_async(wrapped: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = await wrapped(*args, **kwargs)
    body, exchange = result.get("body"), current_exchange.get()
    if exchange is not None and hasattr(body, "iter_chunks") and raw_response(body) is not None:
        with guard("reading a body"):
            data, error = await read_body_async(body)
            exchange.received = data
            rewind_async(body, data, error)
    return result


BOTOCORE = Table(
    units=(*UNIT_SOURCES, *CLAUDE_SOURCES),
    routes=ROUTES,
    patches=(
        Patch("botocore.endpoint", "Endpoint.make_request", wrapper=capture_body),
        Patch("botocore.endpoint", "Endpoint.prepare_request", wrapper=redirect),
        Patch("botocore.endpoint", "convert_to_response_dict", wrapper=capture_answer),
        Patch("botocore.client", "BaseClient._make_api_call", bound_wrapper=wrap_sync, keeps_ours=True),
    ),
)


AIOBOTOCORE = Table(
    units=(*UNIT_SOURCES, *CLAUDE_SOURCES),
    patches=(
        Patch("aiobotocore.endpoint", "convert_to_response_dict", wrapper=capture_answer_async),
        Patch("aiobotocore.client", "AioBaseClient._make_api_call", bound_wrapper=wrap_async, keeps_ours=True),
    ),
)

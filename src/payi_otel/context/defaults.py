"""From settings to the scope that holds where none was entered, and to what crosses to other services."""

from __future__ import annotations

from msgspec.structs import replace

from payi_otel._settings import Settings
from payi_otel.context import baggage
from payi_otel.context.scope import Scope, are_defaults_set, from_defaults, set_defaults, unset_defaults


def apply(settings: Settings, program: str, *, log_prompt_and_response: bool, yields: bool = False) -> None:
    """Puts the settings' scope in force.

    Args:
        settings: The settings.
        program: Names the use case where they name none.
        log_prompt_and_response: False goes with every call, so that it holds in whatever pipeline makes its packet.
        yields: Does nothing where a scope is in force already.
    """
    if yields and are_defaults_set():
        return
    base = Scope(log_prompt_and_response=None if log_prompt_and_response else False, proxy=settings.proxy or None)
    scope = _to_scope(settings, program) if settings.global_instrumentation else None
    if scope is not None:
        scope = replace(scope, log_prompt_and_response=base.log_prompt_and_response, proxy=base.proxy)
    set_defaults(scope, base)
    baggage.set_propagation(settings.propagate, settings.trust_inbound_baggage)


def remove() -> None:
    """Takes it out of force."""
    unset_defaults()
    baggage.set_propagation((), False)


def _to_scope(settings: Settings, program: str) -> Scope:
    name = settings.use_case_name
    return from_defaults(
        use_case_name=program if name is None else name,
        use_case_id=settings.use_case_id,
        use_case_version=settings.use_case_version,
        use_case_properties=settings.use_case_properties,
        limit_ids=settings.limit_ids,
        user_id=settings.user_id,
        account_name=settings.account_name,
        request_properties=settings.request_properties,
    )

"""What every provider shares: the table of patches that `instrument` and `uninstrument` walk, once its SDK is imported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from functools import cached_property, partial, wraps
from importlib.metadata import PackageNotFoundError, version
from inspect import iscoroutinefunction, isfunction
from types import FunctionType, MethodType
from typing import Any, ClassVar
from weakref import WeakSet

from msgspec import Struct
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # not in its `__all__`
from opentelemetry.trace import get_tracer
from packaging.requirements import Requirement
from packaging.version import Version
from wrapt import FunctionWrapper

from payi_otel._guard import guard
from payi_otel._imports import after_import
from payi_otel.context.scope import track_by_default
from payi_otel.instrumentors._http_calls import Route
from payi_otel.instrumentors._operation import Operation
from payi_otel.instrumentors._span_content import content_switch
from payi_otel.instrumentors._wrapper import Binding, async_wrapper, sync_wrapper
from payi_otel.packets.units import UnitSource
from payi_otel.payload import registry

logger = logging.getLogger("payi.instrument")


class Patch(Struct, frozen=True):
    """One method to wrap. `is_async` is declared: `inspect.iscoroutinefunction` is False on decorated async methods."""

    module: str
    target: str
    """`Class.method`."""
    operation: Operation | None = None
    is_async: bool = False
    wrapper: Callable[..., Any] | None = None
    """Instead of an operation: a bare wrapper in wrapt's form (`wrapped, instance, args, kwargs`)."""
    bound_wrapper: Callable[[Binding], Callable[..., Any]] | None = None
    """Instead of both: makes a wrapper for a call that does not begin, or end, where the method is called."""
    keeps_ours: bool = False
    """It keeps headers and baggage of ours from the provider: done also where the SDK's calls are not wanted."""
    since: str = ""
    """The first version of the SDK that has it; "" where all supported ones do."""
    until: str = ""
    """The first version that no longer has it; "" where the newest does."""

    @property
    def name(self) -> str:
        """The dotted path."""
        return f"{self.module}.{self.target}"

    def is_in(self, sdk: str) -> bool:
        """Whether this version of the SDK is known to have the method."""
        known = Version(sdk)
        return (not self.since or known >= Version(self.since)) and (not self.until or known < Version(self.until))


class Table(Struct, frozen=True):
    """What is wrapped of an SDK, and what is read of its answers."""

    patches: tuple[Patch, ...]
    units: tuple[UnitSource, ...] = ()
    """What docs/units.md says of its answers."""
    routes: tuple[Route, ...] = ()
    """Paths of the provider's HTTP API that ask a model, for gateways that need no SDK."""
    unfinished: Callable[[], str | None] = lambda: None
    """Says at the process's end which calls of this provider were begun and cannot be recorded any more; None: none."""
    forget: Callable[[], None] = lambda: None
    """Called when the SDK is no longer instrumented."""


class ProviderInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # opentelemetry-instrumentation has no type marker
    """A `BaseInstrumentor` whose `instrument` and `uninstrument` walk the same table of patches.

    A subclass says whose SDK it is and loads next to nothing; the code for it is loaded when the application imports the SDK.
    """

    name: ClassVar[str]
    """Entry-point name, e.g. `payi_openai`."""
    distribution: ClassVar[str]
    """The provider SDK on the package index."""
    module: ClassVar[str]
    """The provider SDK's import name."""
    roots: ClassVar[tuple[str, ...]] = ()
    """What is imported before any other part of the SDK; `module` where it is not said."""
    supported: ClassVar[str]
    """A requirement, e.g. `openai >= 1.66`."""
    categories: ClassVar[frozenset[str]]
    """The Pay-i categories its clients may have."""
    is_gateway: ClassVar[bool] = False
    """It calls other providers, whose own SDKs have instrumentors of their own."""
    has_sdk: bool = False
    """The SDK was installed when it was last looked for."""

    def load(self) -> Table:
        """Imports what is wrapped, and how."""
        raise NotImplementedError

    @cached_property
    def table(self) -> Table:
        """What is wrapped, and how; loaded when it is asked for."""
        return self.load()

    def instrumentation_dependencies(self) -> Collection[str]:
        """The SDK versions this instrumentor knows."""
        return (self.supported,)

    def instrument(self, **kwargs: Any) -> None:
        """Patches the SDK. Where it is patched already, as by `opentelemetry-instrument`, only what is given anew takes effect.

        Args:
            **kwargs: `tracer_provider`, the global one by default; `categories`: the Pay-i categories whose clients are wanted, None
                for all; `records` False: no call is, and only what is ours is kept from the provider; `settings`; and what
                `BaseInstrumentor.instrument` takes.
        """
        is_new = "tracer_provider" in kwargs
        if is_new and self.is_instrumented_by_opentelemetry and self.records is not kwargs.get("records", True):
            self.uninstrument()
        if not self.is_instrumented_by_opentelemetry:
            super().instrument(**kwargs)
        elif is_new:
            self._bind(kwargs, self._binding.module)

    def _bind(self, kwargs: Mapping[str, Any], module: str) -> None:
        tracer = get_tracer("payi_otel.instrumentors." + self.module, tracer_provider=kwargs.get("tracer_provider"))
        self._binding.start(tracer, module, kwargs.get("categories"), kwargs.get("settings"))
        content_switch.read()

    def _instrument(self, **kwargs: Any) -> None:
        """Patches the SDK, or arranges for it to be patched when it is imported: instrumenting alone imports no SDK. Never raises."""
        with guard(f"instrumenting {self.distribution}"):
            self._patch(kwargs)

    def _patch(self, kwargs: Mapping[str, Any]) -> None:
        self._binding = getattr(self, "_binding", None) or Binding()
        self.records = bool(kwargs.get("records", True))
        self._bind(kwargs, "")
        track_by_default()
        registry.before_shutdown(self._say_unfinished)
        self._undo: list[Callable[[], None]] = []
        self.wrapped: list[str] = []
        self._is_refused = False
        if not self._meets_sdk(self._binding):
            if self.has_sdk:
                return
            logger.debug("%s is not installed: its calls are recorded if it is installed and imported later", self.distribution)
        for root in self.roots or (self.module,):
            after_import(partial(self._follow, self._binding), root)

    def _follow(self, binding: Binding, root: Any) -> None:
        """The SDK has been imported: patches what is there of it, and the rest when that is imported."""
        with guard(f"instrumenting {self.distribution}"):
            is_late = not binding.module
            if not binding.active or not self._meets_sdk(binding):  # not active: by the import hook of an earlier `instrument`
                return
            if is_late:
                sdk = binding.module.replace("/", " ")
                logger.info("%s was installed after payi_instrument(): its calls are recorded from now on", sdk)
            by_module: dict[str, list[Patch]] = {}
            for patch in self.table.patches:
                if self.records or patch.keeps_ours:
                    by_module.setdefault(patch.module, []).append(patch)
            for name, patches in by_module.items():  # one hook a module: there are ten times as many patches
                after_import(partial(self._apply_all, tuple(patches), binding), name)

    def _meets_sdk(self, binding: Binding) -> bool:
        """Notes the SDK's version once it is there; False, and said once, where it is not supported."""
        if binding.module or self._is_refused:
            return not self._is_refused
        sdk = self.installed_version()
        self.has_sdk = sdk is not None
        if sdk is None:
            return False
        if not self.supports(sdk):
            logger.warning("%s %s is installed, %s is supported: its calls are not recorded", self.distribution, sdk, self.supported)
            self._is_refused = True
            return False
        binding.module = f"{self.distribution}/{sdk}"
        return True

    def _uninstrument(self, **kwargs: Any) -> None:
        if binding := getattr(self, "_binding", None):
            binding.active = False
        for undo in reversed(getattr(self, "_undo", [])):
            undo()
        self._undo, self.wrapped = [], []
        if "table" in vars(self):
            self.table.forget()

    def _say_unfinished(self) -> None:
        if "table" in vars(self) and (unfinished := self.table.unfinished()):
            logger.warning("%s", unfinished)

    def supports(self, sdk: str) -> bool:
        """Whether this version of the SDK is one that is known."""
        return bool(Requirement(self.supported).specifier.contains(sdk, prereleases=True))

    def installed_version(self) -> str | None:
        """The provider SDK's version, or None where it is not installed."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None

    def _apply_all(self, patches: tuple[Patch, ...], binding: Binding, module: Any) -> None:
        for patch in patches:
            self._apply(patch, binding, module)

    def _apply(self, patch: Patch, binding: Binding, module: Any) -> None:
        if not binding.active or patch.name in self.wrapped:  # by the import hook of an earlier `instrument`
            return
        sdk = binding.module.rpartition("/")[2]
        try:
            owner = module
            *path, attribute = patch.target.split(".")
            for part in path:
                owner = getattr(owner, part)
            original = owner.__dict__[attribute]
        except (AttributeError, KeyError):
            level = logging.WARNING if patch.is_in(sdk) else logging.DEBUG
            logger.log(level, "%s %s has no %s: calls to it are not recorded", self.distribution, sdk, patch.name)
            return
        if _is_ours(original):  # a class that took over a method we had wrapped already
            self.wrapped.append(patch.name)
            return
        replacement = _replaced(original, patch, binding)
        setattr(owner, attribute, replacement)
        self.wrapped.append(patch.name)
        self._undo.append(partial(_restore, owner, attribute, replacement))


def _is_ours(method: Any) -> bool:
    wrapper = getattr(method, "_self_wrapper", None)
    return getattr(wrapper, "__module__", "").startswith("payi_otel.") or (isfunction(method) and method in _plain)


def _replaced(original: Any, patch: Patch, binding: Binding) -> Any:
    """What stands in a method's place: wrapt's for what users call, and look into; for what an SDK calls itself, a bare function."""
    wrapper = _wrapper_of(patch, binding)
    if patch.wrapper is None or type(original) is not FunctionType or "." not in patch.target:  # wrapt's calls itself a function, too
        return FunctionWrapper(original, wrapper)
    method = _plain_async(original, wrapper) if iscoroutinefunction(original) else _plain_sync(original, wrapper)
    _plain.add(method)
    return method


_plain: WeakSet[Callable[..., Any]] = WeakSet()
"""Bare functions of ours. A call goes through four or five of them, each of which takes a sixth of the time of wrapt's."""


def _plain_sync(original: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(MethodType(original, self), self, args, kwargs)

    return method


def _plain_async(original: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await wrapper(MethodType(original, self), self, args, kwargs)

    return method


def _restore(owner: Any, attribute: str, replacement: Any) -> None:
    if owner.__dict__.get(attribute) is replacement:  # else another instrumentation wrapped ours: it stays, inert
        setattr(owner, attribute, replacement.__wrapped__)


def _wrapper_of(patch: Patch, binding: Binding) -> Callable[..., Any]:
    if patch.bound_wrapper is not None:
        return patch.bound_wrapper(binding)
    if patch.operation is None:
        assert patch.wrapper is not None, patch
        return patch.wrapper
    return async_wrapper(patch.operation, binding) if patch.is_async else sync_wrapper(patch.operation, binding)

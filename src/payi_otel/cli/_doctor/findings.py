"""What `payi-otel doctor` looks at beside the SDKs: settings, key, Pay-i itself, and what else steers OpenTelemetry in this environment."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import distributions, entry_points
from typing import Final
from urllib.parse import urlsplit

from payi_otel._environ import FLAG_PREFIX, disabled_instrumentations, is_sdk_disabled, variable
from payi_otel.cli._doctor.check import NOTE, OK, PROBLEM, Check
from payi_otel.cli._doctor.spool import look_at_spool
from payi_otel.clients import API_KEY_VARIABLE, BASE_URL_VARIABLE, DEFAULT_BASE_URL, HEADERS_VARIABLE, IngestTarget, to_target
from payi_otel.config import FILE_VARIABLE, Settings, load_settings
from payi_otel.errors import ConfigurationError, MissingKeyError
from payi_otel.packets.dialects import DIALECTS

TIMEOUT_S: Final = 10.0
"""For Pay-i's one answer: somebody sits and waits for it."""
_KEY_REFUSED: Final = (401, 403)
_REDIRECTS: Final = range(300, 400)
_PROXY_REFUSED: Final = 407
_FAILS: Final = 500
_GENAI: Final = re.compile(
    r"opentelemetry-instrumentation-(?:genai|google-gen|openai|anthropic|bedrock|botocore|vertexai|langchain|llama|cohere|mistral|groq|ollama|"
    r"together|replicate|crewai|haystack|litellm|sagemaker|watsonx|transformers|alephalpha|writer|agno|dashscope)[a-z0-9-]*"
    r"|openinference-instrumentation-[a-z0-9-]+"
)
"""Distributions whose spans are of GenAI calls."""
_ALSO_KNOWN: Final = ("opentelemetry-instrumentation-openai", "opentelemetry-instrumentation-botocore")
"""Those whose scopes are called by more than their distribution."""
_ADDRESS: Final = ("url", f"set {BASE_URL_VARIABLE} to the address alone, or leave it out")
_BY_PLACE: Final = {
    "api_key": ("key", f"set {API_KEY_VARIABLE} to the key as Pay-i shows it, without quotes and spaces"),
    "default_headers": ("headers", f"put {HEADERS_VARIABLE} right: one `Name: value` a line"),
}
_ALWAYS_SAMPLED: Final = ("", "always_on", "parentbased_always_on")


def look_around(environ: Mapping[str, str], *, is_offline: bool) -> list[Check]:
    """Looks at everything but the SDKs.

    Args:
        environ: The environment.
        is_offline: Nothing is sent anywhere, and a key need not be there.
    """
    checks = list[Check]()
    settings = _settings(environ, checks)
    writes_file = settings is not None and settings.offline_instrumentation is not None
    checks.append(_key(environ, is_needed=not (is_offline or writes_file)))
    target = _target(environ, checks)
    if target is not None and not is_offline and not writes_file:
        checks += ask_payi(target)
    checks += (_sdk_disabled(environ), *_disabled(environ), _sampler(environ), *_distros(environ), *_others())
    if settings is not None:
        checks += look_at_spool(settings.ingest_retry.spool_directory, settings.ingest_retry.spool_max_bytes)
    return checks


def _settings(environ: Mapping[str, str], checks: list[Check]) -> Settings | None:
    file = variable(FILE_VARIABLE, environ)
    try:
        with _warnings_as(checks):
            settings = load_settings(environ=environ)
    except ConfigurationError as error:
        checks += [Check("settings", PROBLEM, text, "put it right; docs/settings.md lists every setting") for text in error.problems]
        return None
    found = f"right, {file} and the environment together" if file else "right"
    if settings.offline_instrumentation is not None:
        checks.append(Check("settings", NOTE, f"{found}; packets go to a file, not to Pay-i", "payi-otel replay FILE sends them later"))
    else:
        checks.append(Check("settings", OK, found))
    return settings


@contextmanager
def _warnings_as(checks: list[Check]) -> Iterator[None]:
    """What reading the settings would leave in the log: a misspelt variable, a deprecated place."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            checks.append(Check("settings", NOTE, record.getMessage().removeprefix("payi-otel: ")))

    logger, handler = logging.getLogger("payi.instrument.config"), Collect(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _key(environ: Mapping[str, str], *, is_needed: bool) -> Check:
    """Its place, never its value."""
    name = next((name for name in (FLAG_PREFIX + API_KEY_VARIABLE, API_KEY_VARIABLE) if environ.get(name)), None)
    if name is not None:
        return Check("key", OK, f"{name} is set")
    remedy = f"set {API_KEY_VARIABLE}, unless the application gives payi_instrument(payi=Payi(api_key=...)) itself"
    return Check("key", PROBLEM if is_needed else NOTE, f"{API_KEY_VARIABLE} is not set", remedy)


def _target(environ: Mapping[str, str], checks: list[Check]) -> IngestTarget | None:
    given = variable(BASE_URL_VARIABLE, environ)
    try:
        target = to_target(environ=environ)
    except MissingKeyError:
        checks.append(Check("url", NOTE if given else OK, f"{BASE_URL_VARIABLE} is set" if given else f"{DEFAULT_BASE_URL}, the default"))
        return None
    except ConfigurationError as error:
        for text in error.problems:
            name, remedy = _BY_PLACE.get(text.partition(":")[0], _ADDRESS)
            checks.append(Check(name, PROBLEM, text, remedy))
        return None
    checks.append(Check("url", OK, f"{_shown(target.base_url)}, {f'by {BASE_URL_VARIABLE}' if given else 'the default'}"))
    return target


def _shown(url: str) -> str:
    """Without a user and a password, a query and a fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def ask_payi(target: IngestTarget) -> list[Check]:
    """One request that changes nothing, for the result of a packet that never was: Pay-i looks at the key first."""
    from payi_otel.exporters._wire import to_result_request
    from payi_otel.exporters.http import HttpSink

    sink = HttpSink(replace(target, timeout_s=TIMEOUT_S, connect_timeout_s=TIMEOUT_S / 2))
    try:
        status, _, fault = sink.ask(to_result_request("system.openai", "payi-otel-doctor"))
    finally:
        sink.close()
    url = _shown(target.base_url)
    if status == 0:
        remedy = f"check {BASE_URL_VARIABLE}, the network, its proxy (HTTPS_PROXY) and certificates (SSL_CERT_FILE)"
        return [Check("reachable", PROBLEM, f"{url} does not answer: {fault}", remedy)]
    return list(_read_answer(status, url))


def _read_answer(status: int, url: str) -> Iterator[Check]:
    if status in _REDIRECTS or status == _PROXY_REFUSED:
        remedy = (
            f"set {BASE_URL_VARIABLE} to where it leads: packets are never sent to another origin"
            if status in _REDIRECTS
            else ("give the proxy its user and password (HTTPS_PROXY), or Pay-i a way around it (NO_PROXY)")
        )
        yield Check("reachable", PROBLEM, f"{url} answers HTTP {status}", remedy)
        return
    if status >= _FAILS:
        yield Check("reachable", PROBLEM, f"{url} answers HTTP {status}", "try again later: packets wait, and none is lost meanwhile")
        return
    yield Check("reachable", OK, f"{url} answers")
    if status in _KEY_REFUSED:
        yield Check("authentication", PROBLEM, f"the key is refused (HTTP {status})", f"set {API_KEY_VARIABLE} to a key of this Pay-i")
    else:
        yield Check("authentication", OK, "the key is taken")


def _sdk_disabled(environ: Mapping[str, str]) -> Check:
    if is_sdk_disabled(environ):
        return Check("OTEL_SDK_DISABLED", PROBLEM, "true: no call is recorded", "unset it")
    return Check("OTEL_SDK_DISABLED", OK, "not set" if "OTEL_SDK_DISABLED" not in environ else "not true")


def _disabled(environ: Mapping[str, str]) -> Iterator[Check]:
    """A name that is nearly one of ours switches nothing off."""
    from payi_otel.instrumentors._discovery import all_instrumentors

    name, ours = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", [one.name for one in all_instrumentors()]
    disabled = disabled_instrumentations(environ)
    off = [one for one in ours if one in disabled]
    if "*" in disabled:
        yield Check(name, PROBLEM, "* is in it: a launched program is not recorded", "name only those that are to be off")
    elif off:
        yield Check(name, NOTE, f"off: {', '.join(off)}", "take a name out of it to have its calls recorded")
    else:
        yield Check(name, OK, "switches none of this package's off")
    for one in sorted(disabled.difference(ours)):
        if one.startswith("payi") and (near := difflib.get_close_matches(one, ours, n=1)):
            yield Check(name, NOTE, f"{one} is none of this package's", f"did you mean {near[0]}?")


def _sampler(environ: Mapping[str, str]) -> Check:
    sampler = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if sampler in _ALWAYS_SAMPLED:
        return Check(
            "sampler", OK, f"OTEL_TRACES_SAMPLER={sampler}" if sampler else "OTEL_TRACES_SAMPLER is not set: all spans are sampled"
        )
    argument = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    shown = f"OTEL_TRACES_SAMPLER={sampler}" + (f", {argument}" if argument else "")
    return Check("sampler", NOTE, f"{shown}: traces are sampled, cost is not; every call of this package's becomes a packet")


def _distros(environ: Mapping[str, str]) -> Iterator[Check]:
    """The launcher takes the first it finds."""
    names = sorted({point.name for point in entry_points(group="opentelemetry_distro")})
    if len(names) > 1 and not environ.get("OTEL_PYTHON_DISTRO"):
        remedy = "set OTEL_PYTHON_DISTRO and OTEL_PYTHON_CONFIGURATOR to payi to choose; under any other one calls are recorded, too"
        yield Check("distribution", NOTE, f"{', '.join(names)} are installed, and the launcher takes one of them", remedy)
    else:
        yield Check("distribution", OK, environ.get("OTEL_PYTHON_DISTRO") or ", ".join(names))


def _others() -> Iterator[Check]:
    """Who else may see the same calls. A call is one packet all the same; only the published SDK sends packets of its own."""
    found = dict(sorted(_installed()))
    for name, version in found.items():
        if _GENAI.fullmatch(name):
            if _is_known(name):
                yield Check("instrumentation", OK, f"{name} {version}: known, a call that it sees, too, is one packet")
            else:
                text = f"{name} {version}: not known; its spans are read as the conventions mean them, and their packets say so"
                yield Check("instrumentation", NOTE, text, "compare one call's units with the provider's bill, or uninstall it")
    if "payi" in found:
        text = f"payi {found['payi']}: a payi_instrument() of its own beside this package's would send every packet twice"
        remedy = "under payi-otel run and opentelemetry-instrument it runs on this package; elsewhere `import payi_otel.compat` first"
        yield Check("instrumentation", NOTE, text, remedy)


def _installed() -> Iterator[tuple[str, str]]:
    """Name and version of every distribution whose metadata can be read; one that is broken is not ours to judge."""
    for one in distributions():
        with suppress(Exception):
            if "Name" in (metadata := one.metadata):
                yield _plain(metadata["Name"]), one.version


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_known(distribution: str) -> bool:
    """Whether a dialect is its: a scope is called like the distribution, with dots."""
    scopes = [_plain(dialect.scopes).rstrip("-") for dialect in DIALECTS]
    return distribution in _ALSO_KNOWN or any(distribution == scope or distribution.startswith(scope + "-") for scope in scopes)

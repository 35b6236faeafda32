"""What a user may set, and the reading of it into `Settings`: defaults, then a file, then the environment, then the argument.

`python -m payi_otel.config` prints docs/settings.md.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

from payi_otel._environ import variable
from payi_otel._kinds import normalise_host
from payi_otel._settings import DEPRECATED, SCOPE_FIELDS, USE_CASE_NAME_MAX_CHARS, Accepted, Settings, categories
from payi_otel._validate import VARIABLE_PREFIX, Problems, Row, build, check_fields, check_variables, nearest, rows

__all__ = [
    "SCOPE_FIELDS",
    "PayiInstrumentAnthropicConfig",
    "PayiInstrumentAwsBedrockConfig",
    "PayiInstrumentConfig",
    "PayiInstrumentHostMappingConfig",
    "PayiInstrumentIngestRetryConfig",
    "PayiInstrumentModelConfig",
    "PayiInstrumentModelMapping",
    "PayiInstrumentOfflineInstrumentationConfig",
    "PayiInstrumentOpenAiAzureConfig",
    "PayiInstrumentOpenAiConfig",
    "Row",
    "Settings",
    "default_use_case_name",
    "describe",
    "load_settings",
    "normalise_host",
    "program_name",
    "render",
    "validate_instruments",
]

logger = logging.getLogger("payi.instrument.config")

FILE_VARIABLE: Final = "PAYI_OTEL_CONFIG"
_WITH_VALUE: Final = frozenset({"-W", "-X", "--check-hash-based-pycs"})
"""Python's own options that take the next argument."""
_SPAWNED: Final = "--multiprocessing-fork"
"""Stands in the command line of a child that `multiprocessing` spawned, in which its program's name does not stand."""
_FORKSERVER: Final = "multiprocessing.forkserver"
PROGRAM_VARIABLE: Final = "_PAYI_OTEL_PROGRAM"
"""Tells those children what they are part of."""
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9._-]")


class PayiInstrumentHostMappingConfig(TypedDict, total=False):
    """How one host is priced."""

    price_as_category: str | None


class PayiInstrumentModelMapping(TypedDict, total=False):
    """How one model is priced; `model` and at least one of the last three are required."""

    model: str
    host: Any  # a text, or the URL of httpx or httpx2, neither of which is imported for it
    price_as_category: str | None
    price_as_resource: str | None
    resource_scope: str | None


class PayiInstrumentModelConfig(TypedDict, total=False):
    """How one model's tokens are counted."""

    tokenizer_path: str | None


class PayiInstrumentOfflineInstrumentationConfig(TypedDict, total=False):
    """Packets go to a file."""

    file_name: str | None


class PayiInstrumentIngestRetryConfig(TypedDict, total=False):
    """What happens when Pay-i cannot be reached."""

    max_inline_retries: int | None
    inline_retry_initial_delay: float | None
    queue_enabled: bool | None
    queue_max_size: int | None
    queue_max_bytes: int | None
    queue_interval: float | None
    spool_directory: str | None
    spool_max_bytes: int | None
    spool_content: bool | None
    spool_sync: Literal["interval", "always"] | None


class PayiInstrumentOpenAiAzureConfig(TypedDict, total=False):
    """Deprecated: `openai_config.model_mappings` serves Azure too."""

    model_mappings: Sequence[PayiInstrumentModelMapping] | None


class PayiInstrumentOpenAiConfig(TypedDict, total=False):
    """OpenAI's own settings."""

    model_mappings: Sequence[PayiInstrumentModelMapping] | None
    azure: PayiInstrumentOpenAiAzureConfig | None


class PayiInstrumentAnthropicConfig(TypedDict, total=False):
    """Anthropic's own settings."""

    model_mappings: Sequence[PayiInstrumentModelMapping] | None


class PayiInstrumentAwsBedrockConfig(TypedDict, total=False):
    """AWS Bedrock's own settings."""

    guardrail_trace: bool | None
    add_streaming_xproxy_result: bool | None
    model_mappings: Sequence[PayiInstrumentModelMapping] | None
    model_config: Mapping[str, PayiInstrumentModelConfig] | None


class PayiInstrumentConfig(TypedDict, total=False):
    """What a user writes; `Settings` has each one's meaning, default and bound. None is the same as left out."""

    proxy: bool | None
    global_instrumentation: bool | None
    instrument_inline_data: bool | None
    connection_error_logging_window: int | None
    host_mappings: Mapping[Any, PayiInstrumentHostMappingConfig] | None  # keys as `PayiInstrumentModelMapping.host`
    offline_instrumentation: PayiInstrumentOfflineInstrumentationConfig | None
    ingest_retry: PayiInstrumentIngestRetryConfig | None
    openai_config: PayiInstrumentOpenAiConfig | None
    anthropic_config: PayiInstrumentAnthropicConfig | None
    aws_config: PayiInstrumentAwsBedrockConfig | None
    azure_openai_config: PayiInstrumentOpenAiAzureConfig | None
    use_case_name: str | None
    use_case_id: str | None
    use_case_version: int | None
    use_case_properties: Mapping[str, str | None] | None
    limit_ids: Sequence[str] | None
    user_id: str | None
    account_name: str | None
    request_properties: Mapping[str, str | None] | None
    delivery: Literal["background", "inline"] | None
    exit_timeout_s: float | None
    result_timeout_s: float | None
    flush_on_sigterm: bool | None
    propagate: Sequence[str] | None
    trust_inbound_baggage: bool | None
    enforce_limits: bool | None
    on_limit: Callable[[str, str], object] | None
    ingest_bulk: Literal["auto"] | bool | None
    instruments: Sequence[str] | None
    log_prompt_and_response: bool | None


def load_settings(
    config: Mapping[str, Any] | PayiInstrumentConfig | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    instruments: Iterable[str] | None = None,
) -> Settings:
    """Reads all settings: defaults, then the file named by `PAYI_OTEL_CONFIG`, then `PAYI_OTEL_*` variables, then `config`.

    The later wins, setting by setting; a list or a dict replaces the one before it. None is the same as left out.

    Args:
        config: A `PayiInstrumentConfig`. It is not changed, and nothing of it is shared.
        environ: The environment to read.
        instruments: As `validate_instruments` takes them.

    Raises:
        ConfigurationError: Something is wrong; every problem of every place is in it.
    """
    problems = Problems()
    values = {**_read_file(variable(FILE_VARIABLE, environ), problems), **check_variables(Accepted, environ, problems)}
    if config is not None:
        values |= check_fields(Accepted, config, "", problems)
    chosen = values.pop("instruments", None)
    wanted = _check_instruments(chosen if instruments is None else instruments, problems)
    _check_together(values, problems)
    problems.raise_any()
    _warn_of_misspelt(environ)
    return build(Settings, _without_deprecated(values), instruments=wanted)


def _read_file(name: str | None, problems: Problems) -> dict[str, Any]:
    if not name:
        return {}
    try:
        text = Path(name).expanduser().read_text("utf-8-sig")
        content = json.loads(text) if name.lower().endswith(".json") else _toml(text)
    except (OSError, RuntimeError) as fault:
        problems.add(f"{FILE_VARIABLE}: {name!r} cannot be read ({type(fault).__name__}), must be a TOML or JSON file")
        return {}
    except (ValueError, RecursionError) as fault:
        problems.add(f"{name}: not valid {'JSON' if name.lower().endswith('.json') else 'TOML'} ({fault})")
        return {}
    return check_fields(Accepted, content, f"{name}: ", problems)


def _toml(text: str) -> dict[str, Any]:
    parser = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    content: dict[str, Any] = parser.loads(text)
    return content


def _check_together(values: Mapping[str, Any], problems: Problems) -> None:
    """Settings that are right by themselves and contradict one another."""
    if values.get("ingest_retry.spool_directory") is None:
        return
    if values.get("ingest_retry.queue_enabled") is False:
        problems.add("ingest_retry.spool_directory: is not allowed with ingest_retry.queue_enabled=False, which gives failed packets up")
    if any(path.partition(".")[0] == "offline_instrumentation" for path in values):
        logger.warning("payi-otel: ingest_retry.spool_directory has no effect with offline_instrumentation, which writes to a file itself")


def _without_deprecated(values: dict[str, Any]) -> dict[str, Any]:
    """Appends the model mappings of the deprecated places to openai_config's, as the published SDK does."""
    used = [path for path in DEPRECATED if values.get(path)]
    if not used:
        return values
    logger.warning("payi-otel: deprecated: %s; move the entries to openai_config.model_mappings", ", ".join(used))
    target = "openai_config.model_mappings"
    return {**values, target: sum((values[path] for path in used), values.get(target, ()))}


def _warn_of_misspelt(environ: Mapping[str, str]) -> None:
    """Logs a variable that is nearly one of ours: what it was meant to set is not set."""
    ours = [name for name in environ if name.startswith(VARIABLE_PREFIX)]
    known = [row.variable.removeprefix(VARIABLE_PREFIX) for row in describe() if row.variable] if ours else []
    for name in ours:
        rest = name.removeprefix(VARIABLE_PREFIX)
        if rest not in known and (hint := nearest(rest, known, alike=0.8)):
            logger.warning("payi-otel: the variable %s is not a setting and is not used, %s (after %s)", name, hint, VARIABLE_PREFIX)


def validate_instruments(instruments: Iterable[str] | None) -> frozenset[str] | None:
    """Checks the categories to instrument.

    Args:
        instruments: A set, frozenset, list or tuple of `PayiCategories` values.

    Returns:
        The categories, or None for all (None, or `"*"` among them).

    Raises:
        ConfigurationError: A category is not known, or it is a bare text.
    """
    problems = Problems()
    wanted = _check_instruments(instruments, problems)
    problems.raise_any()
    return wanted


def _check_instruments(instruments: object, problems: Problems) -> frozenset[str] | None:
    if instruments is None:
        return None
    if not isinstance(instruments, set | frozenset | list | tuple):
        problems.refuse("instruments", instruments, "a set of PayiCategories values", wrong_type=True)
        return None
    all_known = categories()
    known = [value for value in instruments if value in ("*", *all_known)]
    for value in sorted((value for value in instruments if value not in known), key=repr):
        hint = nearest(value, all_known)
        allowed = f"one of '*', {', '.join(map(repr, all_known))}" + (f"; {hint}" if hint else "")
        problems.refuse("instruments", value, allowed, wrong_type=not isinstance(value, str))
    return None if "*" in known else frozenset(known)


def default_use_case_name(filename: str) -> str:
    """Makes a use case's name of a file's: its base name in lower case without `.py`, every character not allowed as `_`.

    Code that stands in no file of its own (`<stdin>`, `-c`, a notebook's cell) is called `interactive`.
    """
    folder, _, name = filename.replace("\\", "/").rpartition("/")
    if name.startswith("<") or name == "-c" or "ipykernel_" in folder:
        return "interactive"
    return _NOT_IN_A_NAME.sub("_", name.lower().removesuffix(".py"))[:USE_CASE_NAME_MAX_CHARS] or "interactive"


def program_name(arguments: Sequence[str] | None = None) -> str:
    """A use case's name made of the script or module that Python was started with.

    Args:
        arguments: The whole command line, Python first; the process's own by default. `sys.argv` is not there yet when a launcher
            asks, before any of the application runs.
    """
    line = sys.orig_argv if arguments is None else arguments
    if _SPAWNED in line or any(_FORKSERVER in argument for argument in line):
        return default_use_case_name(os.environ.get(PROGRAM_VARIABLE, "-c"))
    given = iter(line[1:])
    for argument in given:
        if argument == "-m":
            return default_use_case_name(next(given, ""))
        if argument in _WITH_VALUE:
            next(given, None)
        elif argument == "-" or argument.startswith("-c"):
            break
        elif not argument.startswith("-"):
            return default_use_case_name(argument)
    return default_use_case_name("-c")


def describe() -> list[Row]:
    """Every setting, in order: name, type, default, bound, environment variable, meaning."""
    return list(rows(Accepted))


def render(table: Iterable[Row]) -> str:
    """Makes docs/settings.md of the rows."""
    lines = [
        "# Settings",
        "",
        "Made by `python -m payi_otel.config`; do not edit.",
        "",
        "Where a setting is given more than once, the last of these wins: default, the TOML or JSON file named by",
        f"`{FILE_VARIABLE}`, the environment variable, the `config` argument. Variables of structured settings take",
        "JSON, those of lists also a comma-separated text; an empty variable is an unset one.",
        "",
        "| setting | type | default | allowed | environment variable | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for row in table:
        cells = (_code(row.setting), _code(row.type), _code(row.default), row.bound, _code(row.variable), row.doc)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    sys.stdout.write(render(describe()))

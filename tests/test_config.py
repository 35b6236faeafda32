"""What a user may set: defaults, places and their order, checks and their messages, docs."""

from __future__ import annotations

import copy
import json
import logging
import subprocess
import sys
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

import httpx
import msgspec
import orjson
import pytest

from payi_otel import _settings as table
from payi_otel import config
from payi_otel.config import (
    Settings,
    default_use_case_name,
    describe,
    load_settings,
    normalise_host,
    render,
    validate_instruments,
)
from payi_otel.context.scope import Scope
from payi_otel.errors import ConfigurationError
from payi_otel.semconv import PayiCategories

SETTINGS_PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
PRICES = "price_as_category, price_as_resource or resource_scope"
SCOPE_NAMES = ", ".join(repr(name) for name in config.SCOPE_FIELDS[:-1]) + f" or {config.SCOPE_FIELDS[-1]!r}"
CATEGORIES = ", ".join(map(repr, table.categories()))

KNOWN = [row.setting for row in describe() if "." not in row.setting]

DOCUMENTED: tuple[tuple[str, str, object], ...] = (
    ("proxy", "bool", False),
    ("global_instrumentation", "bool", True),
    ("instrument_inline_data", "bool", False),
    ("connection_error_logging_window", "int", 60),
    ("host_mappings", "dict[host, HostMapping]", {}),
    ("offline_instrumentation", "dict", None),
    ("use_case_name", "str", None),
    ("use_case_id", "str", None),
    ("use_case_version", "int", None),
    ("use_case_properties", "dict[str, str | None]", {}),
    ("limit_ids", "list[str]", ()),
    ("user_id", "str", None),
    ("account_name", "str", None),
    ("request_properties", "dict[str, str | None]", {}),
    ("ingest_retry.max_inline_retries", "int", 0),
    ("ingest_retry.inline_retry_initial_delay", "float", 0.5),
    ("ingest_retry.queue_enabled", "bool", True),
    ("ingest_retry.queue_max_size", "int", 0),
    ("ingest_retry.queue_interval", "float", 5.0),
    ("openai_config.model_mappings", "list[ModelMapping]", ()),
    ("anthropic_config.model_mappings", "list[ModelMapping]", ()),
    ("aws_config.guardrail_trace", "bool", True),
    ("aws_config.add_streaming_xproxy_result", "bool", False),
    ("aws_config.model_mappings", "list[ModelMapping]", ()),
    ("aws_config.model_config", "dict[str, ModelConfig]", {}),
)
"""The reference of `payi_instrument`, by hand. What it calls None is here the empty value of its type, where it has one."""

DOCUMENTED_ENTRIES = (
    "host_mappings.<host>.price_as_category",
    "offline_instrumentation.file_name",
    "openai_config.model_mappings[].model",
    "openai_config.model_mappings[].host",
    "openai_config.model_mappings[].price_as_category",
    "openai_config.model_mappings[].price_as_resource",
    "openai_config.model_mappings[].resource_scope",
    "aws_config.model_config.<model>.tokenizer_path",
)

OURS: tuple[tuple[str, object], ...] = (
    ("delivery", "background"),
    ("exit_timeout_s", 5.0),
    ("result_timeout_s", 5.0),
    ("flush_on_sigterm", True),
    ("propagate", ("use_case_name", "use_case_id", "use_case_version", "use_case_step", "account_name")),
    ("trust_inbound_baggage", False),
    ("enforce_limits", False),
    ("on_limit", None),
    ("ingest_bulk", "auto"),
    ("instruments", None),
    ("log_prompt_and_response", True),
    ("ingest_retry.queue_max_bytes", 67108864),
    ("ingest_retry.spool_directory", None),
    ("ingest_retry.spool_max_bytes", 268435456),
    ("ingest_retry.spool_content", True),
    ("ingest_retry.spool_sync", "interval"),
)

MAPPING = {"model": "m", "price_as_resource": "gpt-4"}
MAPPED = table.ModelMapping(model="m", price_as_resource="gpt-4")

EXAMPLES: dict[str, tuple[str, object]] = {
    "proxy": ("true", True),
    "instruments": ("system.openai", frozenset({"system.openai"})),
    "log_prompt_and_response": ("off", False),
    "global_instrumentation": ("off", False),
    "instrument_inline_data": ("1", True),
    "connection_error_logging_window": ("5", 5),
    "host_mappings": ('{"H.example": {"price_as_category": "c"}}', {"h.example": "c"}),
    "offline_instrumentation": ("{}", table.OfflineInstrumentation()),
    "offline_instrumentation.file_name": ("out.json", "out.json"),
    "ingest_retry": ('{"queue_max_size": 3}', table.IngestRetry(queue_max_size=3)),
    "ingest_retry.max_inline_retries": ("2", 2),
    "ingest_retry.inline_retry_initial_delay": ("1", 1.0),
    "ingest_retry.queue_enabled": ("no", False),
    "ingest_retry.queue_max_size": ("7", 7),
    "ingest_retry.queue_max_bytes": ("7", 7),
    "ingest_retry.queue_interval": ("0.25", 0.25),
    "ingest_retry.spool_directory": ("/spool", "/spool"),
    "ingest_retry.spool_max_bytes": ("7", 7),
    "ingest_retry.spool_content": ("false", False),
    "ingest_retry.spool_sync": ("always", "always"),
    "openai_config": (json.dumps({"model_mappings": [MAPPING]}), table.OpenAiConfig(model_mappings=(MAPPED,))),
    "openai_config.model_mappings": (json.dumps([MAPPING]), (MAPPED,)),
    "anthropic_config": (json.dumps({"model_mappings": [MAPPING]}), table.AnthropicConfig(model_mappings=(MAPPED,))),
    "anthropic_config.model_mappings": (json.dumps([MAPPING]), (MAPPED,)),
    "aws_config": ('{"guardrail_trace": false}', table.AwsBedrockConfig(guardrail_trace=False)),
    "aws_config.guardrail_trace": ("false", False),
    "aws_config.add_streaming_xproxy_result": ("yes", True),
    "aws_config.model_mappings": (json.dumps([MAPPING]), (MAPPED,)),
    "aws_config.model_config": ('{"m": {"tokenizer_path": "t"}}', {"m": table.ModelConfig(tokenizer_path="t")}),
    "use_case_name": ("bot", "bot"),
    "use_case_id": ("id-1", "id-1"),
    "use_case_version": ("3", 3),
    "use_case_properties": ('{"a": null}', {"a": None}),
    "limit_ids": ("one, two,one", ("one", "two")),
    "user_id": ("u", "u"),
    "account_name": ("a", "a"),
    "request_properties": ('{"env": "prod"}', {"env": "prod"}),
    "delivery": ("inline", "inline"),
    "exit_timeout_s": ("0", 0.0),
    "result_timeout_s": ("1.5", 1.5),
    "flush_on_sigterm": ("no", False),
    "propagate": ("user_id", ("user_id",)),
    "trust_inbound_baggage": ("TRUE", True),
    "enforce_limits": ("on", True),
    "ingest_bulk": ("false", False),
}
"""A text for every setting's variable, and the value it stands for."""


def read(settings: Any, path: str) -> Any:
    """A setting by its path."""
    for name in path.split("."):
        settings = getattr(settings, name)
    return settings


def load(given: Any = None, environ: dict[str, str] | None = None, **more: Any) -> Settings:
    """Settings of a config and an environment that holds nothing else."""
    return load_settings(given, environ=environ or {}, **more)


def problems_of(given: Any = None, environ: dict[str, str] | None = None, **more: Any) -> tuple[str, ...]:
    """Every line of the error that these settings raise."""
    with pytest.raises(ConfigurationError) as caught:
        load(given, environ, **more)
    return caught.value.problems


# Defaults


@pytest.mark.parametrize(("path", "kind", "default"), DOCUMENTED)
def test_every_documented_setting_has_its_type_and_default(path: str, kind: str, default: object) -> None:
    """What the reference of `payi_instrument` promises is what holds when nothing is set."""
    assert read(load(), path) == default
    assert next(row.type for row in describe() if row.setting == path) == kind


@pytest.mark.parametrize(("path", "default"), OURS)
def test_our_own_settings_have_their_defaults(path: str, default: object) -> None:
    """What this package adds leaves the documented behaviour alone unless it is set."""
    assert read(load(), path) == default


def test_nothing_is_missing_and_nothing_is_undocumented() -> None:
    """The table holds the documented settings, ours, the sections they stand in, and the two deprecated places."""
    expected = {path for path, *_ in (*DOCUMENTED, *OURS)} | set(DOCUMENTED_ENTRIES)
    expected |= {"ingest_retry", "openai_config", "anthropic_config", "aws_config"}
    expected |= {
        f"{where}.model_mappings[].{name}" for where in ("anthropic_config", "aws_config") for name in table.ModelMapping.__struct_fields__
    }
    expected |= {"azure_openai_config", "azure_openai_config.model_mappings", "openai_config.azure", "openai_config.azure.model_mappings"}
    assert {row.setting for row in describe()} == expected


@pytest.mark.parametrize(
    ("written", "checked"),
    [
        (config.PayiInstrumentConfig, table.Accepted),
        (config.PayiInstrumentHostMappingConfig, table.HostMapping),
        (config.PayiInstrumentOfflineInstrumentationConfig, table.OfflineInstrumentation),
        (config.PayiInstrumentIngestRetryConfig, table.IngestRetry),
        (config.PayiInstrumentOpenAiConfig, table._OpenAiAccepted),
        (config.PayiInstrumentOpenAiAzureConfig, table._Azure),
        (config.PayiInstrumentAnthropicConfig, table.AnthropicConfig),
        (config.PayiInstrumentAwsBedrockConfig, table.AwsBedrockConfig),
        (config.PayiInstrumentModelMapping, table.ModelMapping),
        (config.PayiInstrumentModelConfig, table.ModelConfig),
    ],
)
def test_the_typed_dicts_have_the_keys_that_are_accepted(written: type, checked: type[msgspec.Struct]) -> None:
    """An editor completes what the check accepts, and nothing is required of a user by type."""
    assert set(get_type_hints(written)) == set(checked.__struct_fields__)
    assert not written.__required_keys__


def test_what_may_propagate_is_the_fields_of_a_scope() -> None:
    """The names stand below the layer of `Scope`, so a test holds them together."""
    assert set(config.SCOPE_FIELDS) == set(Scope.__struct_fields__)


def test_a_row_of_the_settings_is_a_dataclass() -> None:
    """Users see it, and may write it as JSON."""
    row = describe()[0]
    assert orjson.loads(orjson.dumps(row)) == asdict(row)


def test_settings_cannot_be_changed() -> None:
    """What the package reads is what was checked."""
    settings = load({"request_properties": {"a": "b"}})
    with pytest.raises(AttributeError):
        settings.proxy = True
    with pytest.raises(TypeError):
        settings.request_properties["a"] = "c"


# Places and their order


def test_every_setting_has_an_example() -> None:
    """The test below leaves none out."""
    assert set(EXAMPLES) == {row.setting for row in describe() if row.variable and "azure" not in row.setting}


@pytest.mark.parametrize("path", EXAMPLES)
def test_every_setting_can_be_set_by_its_variable(path: str) -> None:
    """`PAYI_OTEL_` and the path in upper case; JSON for what has a structure."""
    text, value = EXAMPLES[path]
    assert read(load(environ={"PAYI_OTEL_" + path.upper().replace(".", "_"): text}), path) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [('["a", "b"]', ("a", "b")), ("a", ("a",)), ("a,,b ,", ("a", "b")), ("[]", ())],
)
def test_a_lists_variable_takes_json_and_commas(text: str, value: tuple[str, ...]) -> None:
    """Both are common in deployments."""
    assert load(environ={"PAYI_OTEL_LIMIT_IDS": text}).limit_ids == value


@pytest.mark.parametrize("text", ["auto", "true", "false"])
def test_a_mixed_choice_reads_its_words(text: str) -> None:
    """`ingest_bulk` is a word or a bool."""
    assert load(environ={"PAYI_OTEL_INGEST_BULK": text}).ingest_bulk == {"auto": "auto", "true": True, "false": False}[text]


@pytest.mark.parametrize("version", ["-1", "2147483648"])
def test_a_version_of_a_variable_has_bounds(version: str) -> None:
    """Pay-i's, as in code; the variable is named."""
    with pytest.raises(ConfigurationError, match=rf"PAYI_OTEL_USE_CASE_VERSION.*{version} is not allowed, must be >= 0 and <= 2147483647"):
        load(environ={"PAYI_OTEL_USE_CASE_VERSION": version})
    assert load(environ={"PAYI_OTEL_USE_CASE_VERSION": "2147483647"}).use_case_version == 2_147_483_647


def test_an_empty_variable_is_an_unset_one() -> None:
    """As OpenTelemetry's own variables."""
    assert load(environ={"PAYI_OTEL_USE_CASE_VERSION": "", "PAYI_OTEL_CONFIG": ""}) == Settings()


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_the_argument_wins_over_the_environment_and_that_over_the_file(tmp_path: Path, suffix: str) -> None:
    """Setting by setting, so that each place adds to the others, also inside a section."""
    file = tmp_path / f"payi.{suffix}"
    content = {
        "user_id": "file",
        "account_name": "file",
        "ingest_retry": {"queue_max_size": 1, "queue_interval": 1, "max_inline_retries": 1},
    }
    toml = 'user_id = "file"\naccount_name = "file"\n[ingest_retry]\nqueue_max_size = 1\nqueue_interval = 1\nmax_inline_retries = 1\n'
    file.write_text(toml if suffix == "toml" else json.dumps(content))
    environ = {
        "PAYI_OTEL_CONFIG": str(file),
        "PAYI_OTEL_ACCOUNT_NAME": "environment",
        "PAYI_OTEL_INGEST_RETRY_QUEUE_INTERVAL": "2",
        "PAYI_OTEL_INGEST_RETRY_QUEUE_MAX_SIZE": "2",
    }
    settings = load({"ingest_retry": {"queue_max_size": 3}, "user_id": None}, environ)
    assert settings == Settings(
        user_id="file",
        account_name="environment",
        ingest_retry=table.IngestRetry(queue_max_size=3, queue_interval=2.0, max_inline_retries=1),
    )


def test_a_single_variable_wins_over_its_sections(tmp_path: Path) -> None:
    """The more exact one is meant."""
    environ = {"PAYI_OTEL_INGEST_RETRY": '{"queue_interval": 1, "queue_max_size": 4}', "PAYI_OTEL_INGEST_RETRY_QUEUE_INTERVAL": "2"}
    assert load(environ=environ).ingest_retry == table.IngestRetry(queue_interval=2.0, queue_max_size=4)


def test_a_variable_that_is_nearly_one_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What it was meant to set is not set; others of the prefix are left alone."""
    load(environ={"PAYI_OTEL_USE_CASE_NMAE": "bot", "PAYI_OTEL_ALLOW_INSECURE": "1", "PAYI_OTEL_CONFIG": "", "PATH": "x"})
    assert caplog.messages == [
        "payi-otel: the variable PAYI_OTEL_USE_CASE_NMAE is not a setting and is not used, did you mean 'USE_CASE_NAME'? (after PAYI_OTEL_)"
    ]


def test_the_callers_config_is_neither_changed_nor_shared() -> None:
    """A dict changed after the start changes no settings, and ours change no dict."""
    given = {
        "limit_ids": ["a"],
        "use_case_properties": {"k": "v"},
        "host_mappings": {httpx.URL("https://h"): {"price_as_category": "c"}},
        "openai_config": {"model_mappings": [{"model": "m", "resource_scope": "global"}], "azure": {"model_mappings": [dict(MAPPING)]}},
        "ingest_retry": {"queue_interval": 1},
    }
    inner = given["openai_config"]
    before = copy.deepcopy(given)
    settings = load(given)
    kept = msgspec.structs.astuple(settings)
    assert given == before
    assert given["openai_config"] is inner
    given["limit_ids"].append("b")  # type: ignore[attr-defined]
    given["use_case_properties"]["k"] = "w"  # type: ignore[index]
    given["host_mappings"].clear()  # type: ignore[attr-defined]
    inner["model_mappings"].clear()  # type: ignore[attr-defined]
    assert settings.limit_ids == ("a",)
    assert settings.use_case_properties == {"k": "v"}
    assert settings.host_mappings == {"h": "c"}
    assert len(settings.openai_config.model_mappings) == 2
    assert msgspec.structs.astuple(settings) == kept


def test_a_frozen_mapping_is_a_config_too() -> None:
    """Any `Mapping` will do."""
    assert load(MappingProxyType({"user_id": "u", "request_properties": MappingProxyType({"a": "b"})})).user_id == "u"


def test_the_real_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_settings()` alone reads the process's variables."""
    monkeypatch.setenv("PAYI_OTEL_USER_ID", "from-environment")
    assert load_settings().user_id == "from-environment"


# Meaning of values


def test_an_empty_section_counts_as_given() -> None:
    """`offline_instrumentation: {}` writes to the default file."""
    assert load({"offline_instrumentation": {}}).offline_instrumentation == table.OfflineInstrumentation(file_name=None)
    assert load({"offline_instrumentation": None}).offline_instrumentation is None


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path != "offline_instrumentation"])
def test_none_is_the_same_as_left_out(path: str) -> None:
    """The published SDK's types allow None in most places."""
    given: Any = None
    for name in reversed(path.split(".")):
        given = {name: given}
    expected = table.OfflineInstrumentation() if path.startswith("offline") else None
    assert load(given) == Settings(offline_instrumentation=expected)


def test_an_int_is_a_float_too() -> None:
    """It is kept as a float."""
    value = load({"exit_timeout_s": 3}).exit_timeout_s
    assert (value, type(value)) == (3.0, float)


def test_an_enums_text_is_kept_as_plain_text() -> None:
    """Formatting a member of a text enum would give its name."""
    kind = Enum("kind", {"user": "u", "inline": "inline"}, type=str)
    settings = load({"user_id": kind.user, "delivery": kind.inline, "request_properties": {kind.user: kind.inline}})
    values = (settings.user_id, settings.delivery, *settings.request_properties.items())
    assert values == ("u", "inline", ("u", "inline"))
    assert [type(value) for value in (settings.user_id, settings.delivery, settings.request_properties["u"])] == [str, str, str]


def test_empty_texts_are_kept_where_they_clear() -> None:
    """An empty use-case name is no use case, not the default one."""
    environ = {
        "PAYI_OTEL_USER_ID": "u",
        "PAYI_OTEL_USE_CASE_NAME": "n",
        "PAYI_OTEL_LIMIT_IDS": "a",
        "PAYI_OTEL_USE_CASE_PROPERTIES": '{"a": "b"}',
    }
    cleared = load({"user_id": "", "use_case_name": "", "limit_ids": [], "use_case_properties": {}}, environ)
    assert (cleared.user_id, cleared.use_case_name, cleared.limit_ids, cleared.use_case_properties) == ("", "", (), {})


def test_host_mappings_are_kept_by_normalised_host() -> None:
    """An entry without a category has no effect and is dropped."""
    given = {
        "https://A.example:443/v1": {"price_as_category": "one"},
        "b.example:8080": {"price_as_category": "two"},
        "c.example": {},
        "d": None,
    }
    assert load({"host_mappings": given}).host_mappings == {"a.example": "one", "b.example:8080": "two"}


def test_a_model_mapping_is_kept_with_its_host_normalised() -> None:
    """An empty price counts as unset."""
    given = [{"model": "m", "host": httpx.URL("HTTP://H.example:80/x"), "resource_scope": "region.us-east-1", "price_as_category": ""}]
    mapping = table.ModelMapping(model="m", host="h.example", resource_scope="region.us-east-1")
    assert load({"openai_config": {"model_mappings": given}}).openai_config.model_mappings == (mapping,)


def test_deprecated_places_of_model_mappings_come_after_the_new_one(caplog: pytest.LogCaptureFixture) -> None:
    """In the published SDK's order, with one line that says what to do."""
    one, two, three = ({"model": name, "resource_scope": "global"} for name in "abc")
    settings = load(
        {
            "azure_openai_config": {"model_mappings": [three]},
            "openai_config": {"azure": {"model_mappings": [two]}, "model_mappings": [one]},
        }
    )
    assert [mapping.model for mapping in settings.openai_config.model_mappings] == ["a", "b", "c"]
    assert caplog.record_tuples == [
        (
            "payi.instrument.config",
            logging.WARNING,
            "payi-otel: deprecated: openai_config.azure.model_mappings, azure_openai_config.model_mappings; "
            "move the entries to openai_config.model_mappings",
        )
    ]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("API.OpenAI.com", "api.openai.com"),
        ("api.openai.com:8443", "api.openai.com:8443"),
        ("api.openai.com:443", "api.openai.com"),
        ("https://api.openai.com:443/v1?x=1", "api.openai.com"),
        ("http://api.openai.com:80", "api.openai.com"),
        ("http://api.openai.com:443", "api.openai.com:443"),
        ("wss://api.openai.com:443/v1/realtime", "api.openai.com"),
        ("api.openai.com.", "api.openai.com"),
        ("https://user:secret@host", "host"),
        (" host ", "host"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("bücher.example", "xn--bcher-kva.example"),
        (httpx.URL("https://H.example:9/x"), "h.example:9"),
    ],
)
def test_a_host_has_one_form(host: object, expected: str) -> None:
    """Lower case, without scheme, path, user and default port."""
    assert normalise_host(host) == expected


@pytest.mark.parametrize("host", ["", "https://", "my host", "a:b", "host:99999", "https:///path", "[::1", "-"])
def test_what_names_no_host_is_refused(host: str) -> None:
    """With a ValueError, which does not quote it."""
    with pytest.raises(ValueError):
        normalise_host(host)


# Checks and their messages


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"ingest_retry": {"queue_interval": 0}}, "ingest_retry.queue_interval: 0 is not allowed, must be > 0 seconds"),
        ({"ingest_retry": {"queue_interval": -1.5}}, "ingest_retry.queue_interval: -1.5 is not allowed, must be > 0 seconds"),
        ({"ingest_retry": {"queue_interval": "5"}}, "ingest_retry.queue_interval: '5' (str) is not allowed, must be a float"),
        ({"ingest_retry": {"queue_max_size": -1}}, "ingest_retry.queue_max_size: -1 is not allowed, must be >= 0"),
        ({"ingest_retry": {"max_inline_retries": -1}}, "ingest_retry.max_inline_retries: -1 is not allowed, must be >= 0"),
        ({"ingest_retry": {"max_inline_retries": 1.0}}, "ingest_retry.max_inline_retries: 1.0 (float) is not allowed, must be an int"),
        (
            {"ingest_retry": {"inline_retry_initial_delay": -0.1}},
            "ingest_retry.inline_retry_initial_delay: -0.1 is not allowed, must be >= 0 seconds",
        ),
        ({"ingest_retry": []}, "ingest_retry: list is not allowed, must be a mapping"),
        (
            {"ingest_retry": {"spool_directory": "/s", "queue_enabled": False}},
            "ingest_retry.spool_directory: is not allowed with ingest_retry.queue_enabled=False, which gives failed packets up",
        ),
        ({"ingest_retry": {"spool_directory": ""}}, "ingest_retry.spool_directory: '' is not allowed, must be a non-empty str"),
        ({"ingest_retry": {"spool_sync": "never"}}, "ingest_retry.spool_sync: 'never' is not allowed, must be 'interval' or 'always'"),
        ({"connection_error_logging_window": -1}, "connection_error_logging_window: -1 is not allowed, must be >= 0 seconds"),
        ({"exit_timeout_s": float("nan")}, "exit_timeout_s: nan is not allowed, must be >= 0 seconds"),
        ({"exit_timeout_s": float("inf")}, "exit_timeout_s: inf is not allowed, must be >= 0 seconds"),
        ({"exit_timeout_s": True}, "exit_timeout_s: True (bool) is not allowed, must be a float"),
        ({"use_case_version": True}, "use_case_version: True (bool) is not allowed, must be an int"),
        ({"use_case_version": -1}, "use_case_version: -1 is not allowed, must be >= 0 and <= 2147483647"),
        ({"use_case_version": 2**31}, "use_case_version: 2147483648 is not allowed, must be >= 0 and <= 2147483647"),
        ({"use_case_version": "2"}, "use_case_version: '2' (str) is not allowed, must be an int"),
        ({"proxy": "yes"}, "proxy: 'yes' (str) is not allowed, must be a bool"),
        ({"proxy": 1}, "proxy: 1 (int) is not allowed, must be a bool"),
        ({"use_case_name": "my bot"}, "use_case_name: 'my bot' is not allowed, must be at most 64 of A-Z a-z 0-9 . _ -"),
        ({"use_case_name": "bot\n"}, "use_case_name: 'bot\\n' is not allowed, must be at most 64 of A-Z a-z 0-9 . _ -"),
        ({"use_case_name": 3}, "use_case_name: 3 (int) is not allowed, must be a str"),
        ({"user_id": "a\r\nb"}, "user_id: 'a\\r\\nb' is not allowed, must be a str without control characters"),
        ({"user_id": object}, "user_id: type is not allowed, must be a str"),
        ({"limit_ids": "one"}, "limit_ids: 'one' (str) is not allowed, must be a list of str"),
        ({"limit_ids": ["a", 3]}, "limit_ids[1]: 3 (int) is not allowed, must be a str"),
        ({"limit_ids": ["a,b"]}, "limit_ids[0]: 'a,b' is not allowed, must be a str without commas and control characters"),
        ({"limit_ids": [""]}, "limit_ids[0]: '' is not allowed, must be a str without commas and control characters"),
        ({"propagate": ["use_case"]}, f"propagate[0]: 'use_case' is not allowed, must be {SCOPE_NAMES}"),
        ({"delivery": "later"}, "delivery: 'later' is not allowed, must be 'background' or 'inline'"),
        ({"delivery": 1}, "delivery: 1 (int) is not allowed, must be 'background' or 'inline'"),
        ({"ingest_bulk": 1}, "ingest_bulk: 1 (int) is not allowed, must be 'auto', True or False"),
        ({"request_properties": {"env": 3}}, "request_properties.env: 3 (int) is not allowed, must be a str or None"),
        ({"request_properties": {"a b": ["x"]}}, "request_properties['a b']: list is not allowed, must be a str or None"),
        ({"request_properties": {3: "x"}}, "request_properties: 3 (int) is not allowed, must be a str as a key"),
        ({"use_case_properties": "a=b"}, "use_case_properties: 'a=b' (str) is not allowed, must be a dict of str to str"),
        ({"host_mappings": ["h"]}, "host_mappings: list is not allowed, must be a mapping"),
        ({"host_mappings": {"h": "system.openai"}}, "host_mappings.h: 'system.openai' (str) is not allowed, must be a mapping"),
        (
            {"host_mappings": {"my host": {}}},
            "host_mappings['my host']: 'my host' is not allowed, must be a host name, host:port or a URL",
        ),
        ({"host_mappings": {3: {}}}, "host_mappings[3]: 3 (int) is not allowed, must be a host name, host:port or a URL"),
        (
            {"host_mappings": {"h.example": {"price_as": "c"}}},
            "host_mappings['h.example'].price_as: unknown setting, did you mean 'price_as_category'?",
        ),
        (
            {"host_mappings": {"h": {"price_as_category": "a"}, "H:443": {"price_as_category": "b"}}},
            "host_mappings['H:443']: given twice with different values, must be given once",
        ),
        ({"openai_config": {"model_mappings": {}}}, "openai_config.model_mappings: dict is not allowed, must be a list"),
        ({"openai_config": {"model_mappings": ["m"]}}, "openai_config.model_mappings[0]: 'm' (str) is not allowed, must be a mapping"),
        (
            {"openai_config": {"model_mappings": [{"resource_scope": "global"}]}},
            "openai_config.model_mappings[0].model: missing, must be a non-empty str",
        ),
        (
            {"openai_config": {"model_mappings": [{"model": "", "resource_scope": "global"}]}},
            "openai_config.model_mappings[0].model: '' is not allowed, must be a non-empty str",
        ),
        (
            {"openai_config": {"model_mappings": [MAPPING, {"model": "m", "host": "h"}]}},
            f"openai_config.model_mappings[1]: none of its prices is set, must have at least one of {PRICES}",
        ),
        (
            {"openai_config": {"model_mappings": [{"model": "m", "price_as_category": None, "price_as_resource": ""}]}},
            f"openai_config.model_mappings[0]: none of its prices is set, must have at least one of {PRICES}",
        ),
        (
            {"openai_config": {"model_mappings": [{"model": "m", "resource_scope": "us-east-1"}]}},
            "openai_config.model_mappings[0].resource_scope: 'us-east-1' is not allowed, "
            "must be 'global', 'datazone', 'region' or 'region.<name>'",
        ),
        (
            {"aws_config": {"model_config": {"m": {"tokeniser_path": "t"}}}},
            "aws_config.model_config.m.tokeniser_path: unknown setting, did you mean 'tokenizer_path'?",
        ),
        ({"use_case": "x"}, "use_case: unknown setting, did you mean 'use_case_id'?"),
        ({"limit_id": []}, "limit_id: unknown setting, did you mean 'limit_ids'?"),
        ({"ingest_retry": {"queue_intervall": 1}}, "ingest_retry.queue_intervall: unknown setting, did you mean 'queue_interval'?"),
        ({"offline_instrumentation": {"x": 1}}, "offline_instrumentation.x: unknown setting, known here: file_name"),
        ({"offline_instrumentation": {3: 1}}, "offline_instrumentation[3]: unknown setting, known here: file_name"),
        (
            {"openai_config": {"model_mappings": [{**MAPPING, "hosts": "h"}]}},
            "openai_config.model_mappings[0].hosts: unknown setting, did you mean 'host'?",
        ),
        ("use_case_name=x", "config: 'use_case_name=x' (str) is not allowed, must be a mapping"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_given_and_what_is_allowed(given: Any, line: str) -> None:
    """One line tells a user what to change."""
    assert problems_of(given) == (line,)


def test_a_number_that_no_float_can_hold_is_refused() -> None:
    """It would fail later, in a worker."""
    assert problems_of({"exit_timeout_s": 10**400}) == (
        f"exit_timeout_s: {'1' + '0' * 17}...{'0' * 19} is not allowed, must be >= 0 seconds",
    )


def test_every_problem_of_every_place_is_in_one_error(tmp_path: Path) -> None:
    """A user mends them all in one go: file first, then variables, then the argument."""
    file = tmp_path / "payi.toml"
    file.write_text('delivery = "x"\n[ingest_retry]\nqueue_interval = 0\nqueue_enable = true\n')
    environ = {
        "PAYI_OTEL_CONFIG": str(file),
        "PAYI_OTEL_PROXY": "maybe",
        "PAYI_OTEL_INGEST_RETRY_QUEUE_INTERVAL": "0",
        "PAYI_OTEL_INGEST_RETRY_QUEUE_MAX_SIZE": "ten",
        "PAYI_OTEL_INGEST_RETRY": '{"queue_size": 1}',
        "PAYI_OTEL_EXIT_TIMEOUT_S": "nan",
        "PAYI_OTEL_HOST_MAPPINGS": "not json",
        "PAYI_OTEL_OPENAI_CONFIG_MODEL_MAPPINGS": '[{"model": 3}]',
        "PAYI_OTEL_LIMIT_IDS": '["a", 1]',
    }
    with pytest.raises(ConfigurationError) as caught:
        load({"user_id": 1, "ingest_retry": {"max_inline_retries": -1}}, environ, instruments={"openai"})
    lines = (
        f"{file}: delivery: 'x' is not allowed, must be 'background' or 'inline'",
        f"{file}: ingest_retry.queue_interval: 0 is not allowed, must be > 0 seconds",
        f"{file}: ingest_retry.queue_enable: unknown setting, did you mean 'queue_enabled'?",
        "PAYI_OTEL_PROXY: 'maybe' is not allowed, must be true or false",
        "PAYI_OTEL_HOST_MAPPINGS: text that is not JSON is not allowed, must be JSON",
        "PAYI_OTEL_INGEST_RETRY.queue_size: unknown setting, did you mean 'queue_max_size'?",
        "PAYI_OTEL_INGEST_RETRY_QUEUE_MAX_SIZE: 'ten' is not allowed, must be an int",
        "PAYI_OTEL_INGEST_RETRY_QUEUE_INTERVAL: 0 is not allowed, must be > 0 seconds",
        "PAYI_OTEL_OPENAI_CONFIG_MODEL_MAPPINGS[0].model: 3 (int) is not allowed, must be a str",
        "PAYI_OTEL_LIMIT_IDS[1]: 1 (int) is not allowed, must be a str",
        "PAYI_OTEL_EXIT_TIMEOUT_S: nan is not allowed, must be >= 0 seconds",
        "user_id: 1 (int) is not allowed, must be a str",
        "ingest_retry.max_inline_retries: -1 is not allowed, must be >= 0",
        f"instruments: 'openai' is not allowed, must be one of '*', {CATEGORIES}; did you mean 'system.openai'?",
    )
    assert caught.value.problems == lines
    assert str(caught.value) == "\n  - ".join(("14 settings are wrong:", *lines))


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("payi.toml", "a = ", "{file}: not valid TOML (Invalid value (at end of document))"),
        ("payi.json", "{", "{file}: not valid JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        ("payi.json", "[]", "{file}: list is not allowed, must be a mapping"),
        ("payi.toml", None, "PAYI_OTEL_CONFIG: '{file}' cannot be read (FileNotFoundError), must be a TOML or JSON file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: str | None, line: str) -> None:
    """With the reason, in the same error as all other problems."""
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    assert problems_of({"proxy": 1}, {"PAYI_OTEL_CONFIG": str(file)}) == (
        line.format(file=file),
        "proxy: 1 (int) is not allowed, must be a bool",
    )


def test_a_files_name_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` in a variable is not expanded by every shell; a byte-order mark is no error either."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "payi.toml").write_text('\ufeffuser_id = "u"\n', "utf-8")
    assert load(environ={"PAYI_OTEL_CONFIG": "~/payi.toml"}).user_id == "u"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"request_properties": {"api_key": 12345}}, "request_properties.api_key: *** (int) is not allowed, must be a str or None"),
        ({"request_properties": {"accessToken": 12345}}, "request_properties.accessToken: *** (int) is not allowed, must be a str or None"),
        ({"use_case_properties": {"secret": 1.5}}, "use_case_properties.secret: *** (float) is not allowed, must be a str or None"),
        (
            {"host_mappings": {"https://me:pw@ my host/": {}}},
            "host_mappings['https://***@ my host/']: 'https://***@ my host/' is not allowed, must be a host name, host:port or a URL",
        ),
        ({"api_key": "sk-123"}, "api_key: unknown setting, known here: " + ", ".join(KNOWN)),
        (
            {"user_id": "\n" + "x" * 1000},
            f"user_id: '\\n{'x' * 25}...{'x' * 28}' is not allowed, must be a str without control characters",
        ),
    ],
)
def test_no_message_holds_a_secret_or_a_long_text(given: Any, line: str) -> None:
    """Errors end up in logs."""
    assert problems_of(given) == (line,)


# Instruments, default name, what has no effect yet, docs


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, None),
        ({"*"}, None),
        ({"*", PayiCategories.openai}, None),
        ({PayiCategories.openai}, frozenset({"system.openai"})),
        ([PayiCategories.azure, "system.anthropic"], frozenset({"system.azure", "system.anthropic"})),
        (frozenset({PayiCategories.databricks_aws}), frozenset({"system.databricks.aws"})),
        (set(), frozenset()),
    ],
)
def test_instruments_are_a_set_of_categories(given: Any, wanted: frozenset[str] | None) -> None:
    """None is all of them."""
    assert validate_instruments(given) == wanted
    assert load(instruments=given).instruments == wanted


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ("system.openai", ["instruments: 'system.openai' (str) is not allowed, must be a set of PayiCategories values"]),
        (
            {"openai", "nope"},
            [
                f"instruments: 'nope' is not allowed, must be one of '*', {CATEGORIES}",
                f"instruments: 'openai' is not allowed, must be one of '*', {CATEGORIES}; did you mean 'system.openai'?",
            ],
        ),
        ([["system.openai"]], [f"instruments: list is not allowed, must be one of '*', {CATEGORIES}"]),
    ],
)
def test_unknown_instruments_are_refused(given: Any, lines: list[str]) -> None:
    """A misspelt one would instrument nothing, silently."""
    with pytest.raises(ConfigurationError) as caught:
        validate_instruments(given)
    assert caught.value.problems == tuple(lines)


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("/srv/app/My Bot.py", "my_bot"),
        ("C:\\apps\\Bot.py", "bot"),
        ("main.py", "main"),
        ("main.pyc", "main.pyc"),
        ("x.py.py", "x.py"),
        ("Größe (1).py", "gr__e__1_"),
        ("a" * 80 + ".py", "a" * 64),
        (".py", "interactive"),
        ("", "interactive"),
        ("<stdin>", "interactive"),
        ("<string>", "interactive"),
        ("<ipython-input-3-0123>", "interactive"),
        ("/tmp/ipykernel_4242/1234567.py", "interactive"),
        ("-c", "interactive"),
    ],
)
def test_the_default_use_case_name_is_the_files(filename: str, name: str) -> None:
    """In the form Pay-i takes."""
    assert default_use_case_name(filename) == name
    assert load({"use_case_name": name}).use_case_name == name


def test_the_settings_page_is_up_to_date() -> None:
    """Make it with `python -m payi_otel.config > docs/settings.md`."""
    command = [sys.executable, "-W", "ignore", "-m", "payi_otel.config"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8", timeout=60).stdout
    assert SETTINGS_PAGE.read_text("utf-8") == printed == render(describe())


def test_the_arguments_of_payi_instrument_have_variables() -> None:
    """Without a line of code, under `opentelemetry-instrument`, they are said there; an argument wins over its variable."""
    environ = {"PAYI_OTEL_INSTRUMENTS": "system.openai, system.anthropic", "PAYI_OTEL_LOG_PROMPT_AND_RESPONSE": "false"}
    settings = load(environ=environ)
    assert settings.instruments == frozenset({"system.openai", "system.anthropic"})
    assert settings.log_prompt_and_response is False
    assert load(environ=environ, instruments={"system.azure"}).instruments == frozenset({"system.azure"})
    assert load(environ={"PAYI_OTEL_INSTRUMENTS": "*"}).instruments is None
    (problem,) = problems_of(environ={"PAYI_OTEL_INSTRUMENTS": "openai"})
    assert problem.startswith("PAYI_OTEL_INSTRUMENTS[0]: 'openai' is not allowed, must be '*', 'system.openai'")


def test_a_flag_of_the_launcher_is_read_before_its_variable() -> None:
    """`opentelemetry-instrument --payi_user_id grace` sets the variable with `OTEL_` before its name."""
    environ = {"PAYI_OTEL_USER_ID": "ada", "PAYI_OTEL_ACCOUNT_NAME": "acme", "OTEL_PAYI_OTEL_USER_ID": "grace"}
    settings = load(environ=environ)
    assert (settings.user_id, settings.account_name) == ("grace", "acme")

"""The one table of settings: each field carries its type, default and rule, from which its check, variable and docs are made.

No annotation here is text (`from __future__ import annotations`): compiling a hundred of them took 4 % of set-up.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from payi_otel import _kinds as v
from payi_otel._kinds import NO_ENTRIES
from payi_otel._providers import providers
from payi_otel._validate import Rule, Section
from payi_otel.semconv import PayiCategories

USE_CASE_NAME_MAX_CHARS: Final = 64
"""Pay-i's limit for a use case's name."""
SCOPE_FIELDS: Final = (
    "use_case_name",
    "use_case_id",
    "use_case_version",
    "use_case_step",
    "use_case_properties",
    "limit_ids",
    "user_id",
    "account_name",
    "request_properties",
    "price_as_category",
    "price_as_resource",
    "resource_scope",
    "log_prompt_and_response",
    "proxy",
)
"""What `propagate` may name: the fields of `Scope`, which stands above this layer. A test holds the two equal."""
_PRICES: Final = ("price_as_category", "price_as_resource", "resource_scope")
_SCOPE_NAME: Final = v.choice(*SCOPE_FIELDS)
_LIMIT_ID: Final = v.text("a str without commas and control characters", re.compile(r"[^,\x00-\x1f\x7f]+"))


def categories() -> tuple[str, ...]:
    """What `instruments` may name: Pay-i's own names, and what providers that it has none for are called here."""
    own = (value for name, value in vars(PayiCategories).items() if not name.startswith("_"))
    return (*own, *(category for one in providers() for category in one.categories))


_CATEGORY: Final = v.among(lambda: ("*", *categories()))


class ModelMapping(msgspec.Struct, frozen=True, kw_only=True):
    """How one model is priced."""

    model: Annotated[str, Rule(v.text("a non-empty str", re.compile(r".+", re.DOTALL)), "The model or deployment to match.")]
    host: Annotated[str | None, Rule(v.HOST, "Match only requests to this host.")] = None
    price_as_category: Annotated[str | None, Rule(v.text(), "The Pay-i category to price as, e.g. `system.openai`.")] = None
    price_as_resource: Annotated[str | None, Rule(v.text(), "The Pay-i resource to price as, e.g. `gpt-4`.")] = None
    resource_scope: Annotated[
        str | None,
        Rule(
            v.text("'global', 'datazone', 'region' or 'region.<name>'", re.compile(r"(?:global|datazone|region(?:\.[A-Za-z0-9._-]+)?)?")),
            "Where the model runs, for pricing.",
        ),
    ] = None


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How one model's tokens are counted."""

    tokenizer_path: Annotated[str | None, Rule(v.text(), "A `tokenizers` file, for a model whose tokens are counted here.")] = None


class HostMapping(msgspec.Struct, frozen=True, kw_only=True):
    """How one host is priced; `Settings` keeps only the category."""

    price_as_category: Annotated[str | None, Rule(v.text(), "The Pay-i category to price requests to this host as.")] = None


MODEL_MAPPINGS: Final = v.records(ModelMapping, "list[ModelMapping]", _PRICES)
MODEL_CONFIGS: Final = v.records_by(v.text(), ModelConfig, "dict[str, ModelConfig]", ".<model>", lambda record: record)
HOST_MAPPINGS: Final = v.records_by(v.HOST, HostMapping, "dict[host, HostMapping]", ".<host>", lambda record: record.price_as_category)
Mappings = tuple[ModelMapping, ...]


class OfflineInstrumentation(msgspec.Struct, frozen=True, kw_only=True):
    """Packets go to a file."""

    file_name: Annotated[
        str | None,
        Rule(v.text(), "The file to write.", shown_default="payi_instrumentation_<YYYY-MM-DD-HH-MM-SS>.json"),
    ] = None


class IngestRetry(msgspec.Struct, frozen=True, kw_only=True):
    """What happens when Pay-i cannot be reached."""

    max_inline_retries: Annotated[int, Rule(v.COUNT, "Retries a call waits for before it returns; each doubles the delay.")] = 0
    inline_retry_initial_delay: Annotated[float, Rule(v.SECONDS, "Seconds before the first inline retry.")] = 0.5
    queue_enabled: Annotated[bool, Rule(v.BOOL, "Keep packets that failed and deliver them later; off loses them.")] = True
    queue_max_size: Annotated[int, Rule(v.COUNT, "Packets kept at most; 0 is no limit.")] = 0
    queue_max_bytes: Annotated[
        int, Rule(v.COUNT, "Bytes of packets kept at most, then requests and answers go before units; 0 is no limit.")
    ] = 64 * 1024 * 1024
    queue_interval: Annotated[float, Rule(v.SECONDS_ABOVE_ZERO, "Seconds between two rounds of the retry queue.")] = 5.0
    spool_directory: Annotated[
        str | None,
        Rule(
            v.text("a non-empty str", re.compile(r".+", re.DOTALL)),
            "Keep packets here until they are delivered, also beyond the process.",
        ),
    ] = None
    spool_max_bytes: Annotated[int, Rule(v.COUNT, "Bytes the directory may hold; beyond, packets are in memory only. 0 is no limit.")] = (
        256 * 1024 * 1024
    )
    spool_content: Annotated[bool, Rule(v.BOOL, "Write requests and answers to the spool, too; off keeps only what is billed.")] = True
    spool_sync: Annotated[
        Literal["interval", "always"],
        Rule(v.choice("interval", "always"), "When the spool is forced to disk: now and then, or at every packet."),
    ] = "interval"


class OpenAiConfig(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's own settings."""

    model_mappings: Annotated[Mappings, Rule(MODEL_MAPPINGS, "How models and deployments are priced; the first match counts.")] = ()


class AnthropicConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Anthropic's own settings."""

    model_mappings: Annotated[Mappings, Rule(MODEL_MAPPINGS, "How models and deployments are priced; the first match counts.")] = ()


class AwsBedrockConfig(msgspec.Struct, frozen=True, kw_only=True):
    """AWS Bedrock's own settings."""

    guardrail_trace: Annotated[bool, Rule(v.BOOL, "Ask for the guardrail trace, without which its cost is unknown.")] = True
    add_streaming_xproxy_result: Annotated[bool, Rule(v.BOOL, "Attach `xproxy_result` to stream events.")] = False
    model_mappings: Annotated[Mappings, Rule(MODEL_MAPPINGS, "How model identifiers are priced; the first match counts.")] = ()
    model_config: Annotated[Mapping[str, ModelConfig], Rule(MODEL_CONFIGS, "Settings of single models.")] = NO_ENTRIES


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, checked. Host keys are normalised; nothing in it is shared with what the user passed."""

    proxy: Annotated[bool, Rule(v.BOOL, "Send requests through the Pay-i proxy instead of ingesting them from here.")] = False
    global_instrumentation: Annotated[
        bool, Rule(v.BOOL, "Track calls everywhere; off tracks only inside `@track` and `track_context`.")
    ] = True
    instrument_inline_data: Annotated[bool, Rule(v.BOOL, "Send base64 data of requests (images, files) too.")] = False
    connection_error_logging_window: Annotated[
        int, Rule(v.WHOLE_SECONDS, "Seconds at least between two log lines about a Pay-i that cannot be reached.")
    ] = 60
    host_mappings: Annotated[Mapping[str, str], Rule(HOST_MAPPINGS, "How hosts other than a provider's own are priced.")] = NO_ENTRIES
    offline_instrumentation: Annotated[
        OfflineInstrumentation | None,
        Section(OfflineInstrumentation, "Write packets to a JSON file instead of sending them; no key is needed."),
    ] = None
    ingest_retry: Annotated[IngestRetry, Section(IngestRetry, "What happens when an ingest fails.")] = IngestRetry()
    openai_config: Annotated[OpenAiConfig, Section(OpenAiConfig, "OpenAI, all its flavours.")] = OpenAiConfig()
    anthropic_config: Annotated[AnthropicConfig, Section(AnthropicConfig, "Anthropic, all its flavours.")] = AnthropicConfig()
    aws_config: Annotated[AwsBedrockConfig, Section(AwsBedrockConfig, "AWS Bedrock.")] = AwsBedrockConfig()

    use_case_name: Annotated[
        str | None,
        Rule(
            v.text("at most 64 of A-Z a-z 0-9 . _ -", re.compile(rf"[A-Za-z0-9._-]{{0,{USE_CASE_NAME_MAX_CHARS}}}")),
            "The use case of calls that name none; an empty text is no use case.",
            shown_default="name of the calling file",
        ),
    ] = None
    use_case_id: Annotated[str | None, Rule(v.text(), "One instance of the use case.", shown_default="a new one")] = None
    use_case_version: Annotated[int | None, Rule(v.VERSION, "The use case's version.")] = None
    use_case_properties: Annotated[Mapping[str, str | None], Rule(v.PROPERTIES, "Properties of the use case.")] = NO_ENTRIES
    limit_ids: Annotated[tuple[str, ...], Rule(v.texts(_LIMIT_ID), "Limits every request counts against.")] = ()
    user_id: Annotated[str | None, Rule(v.text(), "The end user.")] = None
    account_name: Annotated[str | None, Rule(v.text(), "The account, for tenants.")] = None
    request_properties: Annotated[Mapping[str, str | None], Rule(v.PROPERTIES, "Properties of every request.")] = NO_ENTRIES

    delivery: Annotated[
        Literal["background", "inline"],
        Rule(v.choice("background", "inline"), "Whether a call waits until its packet was delivered."),
    ] = "background"
    exit_timeout_s: Annotated[float, Rule(v.SECONDS, "Seconds the process waits at its exit for packets still to be sent.")] = 5.0
    result_timeout_s: Annotated[float, Rule(v.SECONDS, "Seconds that reading a response's `xproxy_result` waits for Pay-i at most.")] = 5.0
    flush_on_sigterm: Annotated[bool, Rule(v.BOOL, "Deliver what is queued at a SIGTERM that nothing else handles, then end by it.")] = True
    propagate: Annotated[
        tuple[str, ...],
        Rule(v.texts(_SCOPE_NAME, "each a scope field"), "Scope fields that travel to other services as baggage."),
    ] = ("use_case_name", "use_case_id", "use_case_version", "use_case_step", "account_name")  # not the user: it also goes to strangers
    trust_inbound_baggage: Annotated[bool, Rule(v.BOOL, "Take scope fields from the baggage of requests that come in.")] = False
    enforce_limits: Annotated[
        bool, Rule(v.BOOL, "Raise `LimitExceeded` in place of a call that a limit holds for which Pay-i has blocked.")
    ] = False
    on_limit: Annotated[
        Any, Rule(v.CALLABLE, "Called with a limit's id and its state whenever Pay-i says another one, in the thread that delivers.")
    ] = None
    ingest_bulk: Annotated[
        Literal["auto"] | bool,
        Rule(v.choice("auto", True, False), "Send packets together; `auto`: where there are many and the account takes it."),
    ] = "auto"
    instruments: Annotated[
        frozenset[str] | None,
        Rule(
            v.texts(_CATEGORY, "each `*`, a `PayiCategories` value or another provider's category"),
            "The categories to instrument, None for all; the argument of `payi_instrument` wins.",
        ),
    ] = None
    log_prompt_and_response: Annotated[
        bool,
        Rule(v.BOOL, "Send prompts and answers; off, here or in the argument of `payi_instrument`, none leaves but where a scope says so."),
    ] = True


class _Azure(msgspec.Struct, frozen=True, kw_only=True):
    model_mappings: Annotated[Mappings, Rule(MODEL_MAPPINGS, "Deprecated: use openai_config.model_mappings.")] = ()


class _OpenAiAccepted(OpenAiConfig, frozen=True, kw_only=True):
    azure: Annotated[_Azure | None, Section(_Azure, "Deprecated.")] = None


class Accepted(Settings, frozen=True, kw_only=True):
    """What is accepted: the settings, and the published SDK's two deprecated places for model mappings."""

    openai_config: Annotated[OpenAiConfig, Section(_OpenAiAccepted, "OpenAI, all its flavours.")] = OpenAiConfig()
    azure_openai_config: Annotated[_Azure | None, Section(_Azure, "Deprecated.")] = None


DEPRECATED: Final = ("openai_config.azure.model_mappings", "azure_openai_config.model_mappings")

"""Every attribute, property and header name that is read or written, written once.

The `gen_ai.*` names are vendored on purpose: the constants of `opentelemetry.semconv` 0.66 are all marked as moved and lack
the newest keys. Source: https://github.com/open-telemetry/semantic-conventions-genai
"""

from __future__ import annotations

from typing import Final

OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_STREAM_CURSOR: Final = "gen_ai.request.stream_cursor"
REQUEST_TOP_K: Final = "gen_ai.request.top_k"
REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
REQUEST_REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
REQUEST_PREVIOUS_RESPONSE_ID: Final = "gen_ai.request.previous_response.id"
REQUEST_ENCODING_FORMATS: Final = "gen_ai.request.encoding_formats"
EMBEDDINGS_DIMENSION_COUNT: Final = "gen_ai.embeddings.dimension.count"
OUTPUT_TYPE: Final = "gen_ai.output.type"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
PROMPT_NAME: Final = "gen_ai.prompt.name"
PROMPT_VERSION: Final = "gen_ai.prompt.version"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
RESPONSE_STATUS: Final = "gen_ai.response.status"
USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE: Final = "gen_ai.usage.cache_write.input_tokens"
USAGE_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
USAGE_IMAGE_INPUT: Final = "gen_ai.usage.image.input_tokens"
USAGE_IMAGE_OUTPUT: Final = "gen_ai.usage.image.output_tokens"
USAGE_IMAGE_CACHE_READ: Final = "gen_ai.usage.image.cache_read.input_tokens"
USAGE_AUDIO_INPUT: Final = "gen_ai.usage.audio.input_tokens"
USAGE_AUDIO_OUTPUT: Final = "gen_ai.usage.audio.output_tokens"
USAGE_AUDIO_CACHE_READ: Final = "gen_ai.usage.audio.cache_read.input_tokens"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"
EVENT_INFERENCE_DETAILS: Final = "gen_ai.client.inference.operation.details"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
OPENAI_API_TYPE: Final = "openai.api.type"
OPENAI_RESPONSE_SERVICE_TIER: Final = "openai.response.service_tier"
OPENAI_REQUEST_SERVICE_TIER: Final = "openai.request.service_tier"
OPENAI_RESPONSE_SYSTEM_FINGERPRINT: Final = "openai.response.system_fingerprint"
AWS_BEDROCK_GUARDRAIL_ID: Final = "aws.bedrock.guardrail.id"
OPENAI_BACKGROUND: Final = "openai.response.background"

PAYI_CATEGORY: Final = "payi.category"
"""Our own: the Pay-i category of the client that made the call, so that a packet can be made from the span alone."""
PAYI_END_REASON: Final = "payi.end_reason"
PAYI_PROXIED: Final = "payi.proxied"
"""True: the call went through Pay-i's proxy, which has recorded it; it is no packet."""

PROPERTY_FAILURE: Final = "system.failure"
PROPERTY_FAILURE_DESCRIPTION: Final = "system.failure.description"
PROPERTY_STACK_TRACE: Final = "system.stack_trace"
PROPERTY_END_REASON: Final = "payi_otel.end_reason"
PROPERTY_USAGE_ESTIMATED: Final = "payi_otel.usage_estimated"
PROPERTY_USAGE_MISMATCH: Final = "payi_otel.usage_mismatch"
PROPERTY_PART_OF: Final = "payi_otel.part_of"
"""The id of the call that another model's packet is a part of."""
PROPERTY_INSTRUMENTED_BY: Final = "payi_otel.instrumented_by"
"""Scope and version of the other instrumentation whose span a packet was made of."""
PROPERTY_DIALECT: Final = "payi_otel.dialect"
"""`unknown`: that span's numbers were read as the conventions mean them, which nobody has checked for its scope."""
PROPERTY_USAGE_MISSING: Final = "payi_otel.usage_missing"
PROPERTY_SPEED: Final = "payi_otel.speed"
PROPERTY_LATENCY: Final = "payi_otel.latency"
PROPERTY_WEB_FETCHES: Final = "payi_otel.web_fetch_requests"
PROPERTY_IMAGE_SIZE: Final = "payi_otel.image_size"
PROPERTY_IMAGE_QUALITY: Final = "payi_otel.image_quality"
PROPERTY_SERVICE_TIER: Final = "payi_otel.service_tier"

UNKNOWN_MODEL: Final = "system.unknown_model"
NOT_INSTRUMENTED: Final = "<not_instrumented>"
MAX_NUMBER: Final = 2_147_483_647
"""Pay-i's units, latencies and versions are int32: a packet with a larger number is answered with 400, and its cost would be lost."""
STATUS_WITHOUT_HTTP: Final = 299
"""Pay-i's http_status_code for a failure that had no HTTP status."""


class PayiCategories:
    """Pay-i's names for the providers; also the values that `instruments` takes."""

    openai: Final = "system.openai"
    azure_openai: Final = "system.azureopenai"
    azure: Final = "system.azure"
    anthropic: Final = "system.anthropic"
    aws_bedrock: Final = "system.aws.bedrock"
    google_vertex: Final = "system.google.vertex"
    databricks_azure: Final = "system.databricks.azure"
    databricks_aws: Final = "system.databricks.aws"
    databricks_google: Final = "system.databricks.google"


class PayiHeaderNames:
    """The per-call headers. They are read from `extra_headers` and never reach the provider outside proxy mode."""

    limit_ids: Final = "xProxy-Limit-IDs"
    request_properties: Final = "xProxy-Request-Properties"
    use_case_id: Final = "xProxy-UseCase-ID"
    use_case_name: Final = "xProxy-UseCase-Name"
    use_case_version: Final = "xProxy-UseCase-Version"
    use_case_step: Final = "xProxy-UseCase-Step"
    use_case_properties: Final = "xProxy-UseCase-Properties"
    user_id: Final = "xProxy-User-ID"
    account_name: Final = "xProxy-Account-Name"
    price_as_category: Final = "xProxy-PriceAs-Category"
    price_as_resource: Final = "xProxy-PriceAs-Resource"
    provider_base_uri: Final = "xProxy-Provider-BaseUri"
    resource_scope: Final = "xProxy-Resource-Scope"
    api_key: Final = "xProxy-Api-Key"
    logging_disable: Final = "xProxy-Logging-Disable"


OWN_SCOPES: Final = "payi_otel."
"""How the names of our instrumentors' tracers begin."""
HEADER_PREFIX: Final = "xproxy-"
"""Lower case; any header that begins so is ours, and no request of an instrumented SDK takes it to a provider."""
PROXY_PATH: Final = "/api/v1/proxy/"
"""Stands in the URL of a client that is pointed at the Pay-i proxy, which reads those headers and does the rest."""
HEADER_INSTRUMENTED_MODULE: Final = "xProxy-Instrumented-Module"


class PayiPropertyNames:
    """Names of the properties Pay-i itself reads."""

    failure: Final = PROPERTY_FAILURE
    failure_description: Final = PROPERTY_FAILURE_DESCRIPTION
    account_name: Final = "system.account_name"
    use_case_step: Final = "system.use_case_step"
    user_id: Final = "system.user_id"
    aws_bedrock_guardrail_id: Final = "system.aws.bedrock.guardrail.id"
    aws_bedrock_guardrail_version: Final = "system.aws.bedrock.guardrail.version"
    aws_bedrock_guardrail_action: Final = "system.aws.bedrock.guardrail.action"

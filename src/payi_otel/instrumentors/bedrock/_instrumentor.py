"""The instrumentors for botocore, on which boto3 stands, and for aiobotocore."""

from __future__ import annotations

from payi_otel.instrumentors._base import ProviderInstrumentor, Table
from payi_otel.semconv import PayiCategories


class BedrockInstrumentor(ProviderInstrumentor):
    """AWS Bedrock's runtime through boto3."""

    name = "payi_bedrock"
    distribution = "botocore"
    module = "botocore"
    supported = "botocore >= 1.34"
    categories = frozenset({PayiCategories.aws_bedrock})

    def load(self) -> Table:
        """What is wrapped, and how."""
        from payi_otel.instrumentors.bedrock._patches import BOTOCORE

        return BOTOCORE


class AioBedrockInstrumentor(ProviderInstrumentor):
    """The same through aiobotocore, whose client overrides what botocore's does."""

    name = "payi_aiobedrock"
    distribution = "aiobotocore"
    module = "aiobotocore"
    supported = "aiobotocore >= 2.13"
    categories = frozenset({PayiCategories.aws_bedrock})

    def load(self) -> Table:
        """What is wrapped, and how."""
        from payi_otel.instrumentors.bedrock._patches import AIOBOTOCORE

        return AIOBOTOCORE

"""AWS Bedrock through boto3 (botocore) and aiobotocore."""

from payi_otel.instrumentors.bedrock._instrumentor import AioBedrockInstrumentor, BedrockInstrumentor

__all__ = ["AioBedrockInstrumentor", "BedrockInstrumentor"]

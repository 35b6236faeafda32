payi_instrument(
    config={
        "aws_config": {
            "model_mappings": [
                {
                    "model": "arn:aws:bedrock:us-east-1::foundation-model/my-custom-model",
                    "price_as_category": "system.aws.bedrock",
                    "price_as_resource": "anthropic.claude-3-sonnet",
                    "resource_scope": "region.us-east-1",
                },
            ]
        }
    }
)

payi_instrument(
    config={
        "anthropic_config": {
            "model_mappings": [
                {"model": "my-claude-deployment", "price_as_resource": "claude-sonnet-4-20250514"},
            ]
        }
    }
)

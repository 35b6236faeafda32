payi_instrument(
    config={
        "openai_config": {
            "model_mappings": [
                {"model": "my-gpt4-deployment", "price_as_resource": "gpt-4"},
            ]
        }
    }
)

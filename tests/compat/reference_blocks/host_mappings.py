payi_instrument(
    config={
        "host_mappings": {
            "my-workspace.cloud.databricks.com": {"price_as_category": "system.databricks.azure"},
        }
    }
)

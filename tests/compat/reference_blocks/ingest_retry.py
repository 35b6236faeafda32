payi_instrument(
    config={
        "ingest_retry": {
            "max_inline_retries": 2,
            "inline_retry_initial_delay": 1.0,
            "queue_enabled": True,
            "queue_max_size": 100,
        }
    }
)

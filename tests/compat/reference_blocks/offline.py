payi_instrument(
    config={
        "offline_instrumentation": {"file_name": "telemetry_capture.json"}
    }
)

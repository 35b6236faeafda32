payi_instrument(
    config={
        "use_case_name": "customer_support_bot",
        "user_id": "user5",
        "limit_ids": ["global_budget"],
        "request_properties": {"environment": "production"},
    }
)

from payi.lib.instrument import payi_instrument

payi_instrument(
    payi=None,
    instruments=None,
    log_prompt_and_response=True,
    config=None,
    logger=None,
)

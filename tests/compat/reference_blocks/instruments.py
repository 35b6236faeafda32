from payi.lib.helpers import PayiCategories

# Instrument only OpenAI and Anthropic
payi_instrument(instruments={PayiCategories.openai, PayiCategories.anthropic})

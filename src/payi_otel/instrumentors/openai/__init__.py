"""OpenAI, Azure OpenAI and every other service reached through the `openai` SDK."""

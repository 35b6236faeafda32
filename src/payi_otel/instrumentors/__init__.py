"""Provider SDKs to spans: one folder a provider, each the same shape. Knows nothing of Pay-i's wire."""

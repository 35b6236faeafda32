"""Whose call it is: the `Scope`, the ways to set it, and the ways it travels."""

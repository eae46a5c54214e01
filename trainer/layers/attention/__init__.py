"""Attention over the user's past behaviors, and their retrieval."""

"""Exporting, loading and pushing models."""

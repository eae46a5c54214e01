"""Comparing models and frameworks on the same splits, seed by seed."""

"""Architectures with one network for all domains."""

"""Architectures with parameters of each domain."""

"""Adapters and mappings between a source and a target domain."""

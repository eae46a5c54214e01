"""Architectures that transfer from a source domain to target domains."""

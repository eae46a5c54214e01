"""Layers with parameters of each domain, STAR's among them."""

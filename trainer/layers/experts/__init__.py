"""Mixtures of experts, cross-stitch units, and layers with generated or routed weights."""

"""Layers that embed the features of an example."""

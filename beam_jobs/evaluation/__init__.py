"""Scores, metrics and blessing of an exported model."""

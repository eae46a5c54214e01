"""Towers, dropout, normalization and gradient helpers."""

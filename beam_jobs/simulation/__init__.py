"""Simulated logs of users, items and domains whose true click probabilities are known."""

"""Feature values of an example: histories, statistics, negatives, vocabularies, ids."""

"""Building blocks of the learning frameworks."""

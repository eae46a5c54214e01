"""Rows of a raw log: validation, buckets of users, splits and random draws."""

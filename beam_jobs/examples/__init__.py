"""Example files: Parquet, written with reproducible bytes."""

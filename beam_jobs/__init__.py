"""Raw click logs to datasets; datasets and models to scores and metrics. Beam and Arrow."""

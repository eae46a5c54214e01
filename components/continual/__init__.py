"""Continual transfer (CTNet 3.3, Algorithm 1): period after period, source then targets.

config    the `continual` section
context   the configuration and its directories in the workspace
days      the days of the raw log
versions  the days that the pushed models were trained on, which are the pipeline's only state
periods   the periods of a dataset
extend    adds days to the dataset, as far as the next period needs them
attempt   what one model of one period is trained, evaluated and pushed with
run       trains, evaluates and pushes an attempt
history   the table of all models
steps     the bodies of the KFP components
"""

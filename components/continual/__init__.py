"""Continual transfer (CTNet 3.3, Algorithm 1): period after period, source then targets.

    config    the `continual` section
    days      which days of the raw log are there
    versions  what the pushed models were trained on: the whole state of the pipeline
    periods   which period comes next, of which model
    extend    the dataset, as far as the next period needs it
    attempt   one model's training on one period, evaluated and pushed
    steps     the same, told in KFP artifacts
"""

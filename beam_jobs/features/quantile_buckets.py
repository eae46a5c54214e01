"""Buckets of numbers, bounded by quantiles of the training rows."""

import numpy as np

from beam_jobs.rows.mergeable import NumberCounts


def quantile_boundaries(counts: NumberCounts, buckets: int) -> list[float]:
    """Boundaries that cut the counted numbers into about equal parts.

    Boundary i is the smallest number v such that at least i/buckets of all numbers are at or
    below v. Equal boundaries are merged, and the smallest number of all is not a boundary,
    since no number would be below it.
    """
    if not len(counts):
        return []
    cumulative = np.cumsum(counts.counts)
    wanted = np.arange(1, buckets) / buckets * cumulative[-1]
    place = np.searchsorted(cumulative, np.round(wanted, 6), side='left')
    return [float(number) for number in np.unique(counts.numbers()[place[place > 0]])]


def bucketize(numbers: np.ndarray, boundaries: list[float]) -> np.ndarray:
    """0 for NaN, else 1 + the number of boundaries at or below; `int64[len(numbers)]`."""
    ids = 1 + np.searchsorted(np.asarray(boundaries, np.float64), numbers, side='right')
    return np.where(np.isnan(numbers), 0, ids)

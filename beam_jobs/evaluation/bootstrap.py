"""Confidence intervals of the metrics: the bootstrap that draws users, not rows.

A user's impressions are not independent of each other, so a replicate draws as many users as
there are, with replacement, each with all of their rows: a row's weight is how often its user
was drawn. All but the AUC are ratios of sums over users; the AUC is computed on rows that are
sorted once.
"""

from typing import NamedTuple

import numpy as np

from mdctr.metrics import row_losses, user_aucs
from mdctr.runs import run_starts

RESAMPLED = ('auc', 'gauc', 'log_loss', 'pcoc')
Replicates = dict[str, np.ndarray]


class Columns(NamedTuple):
    """The rows that a metric is of: user keys, labels, scores, and weights as for
    `mdctr.metrics.domain_metrics`, each [rows]."""

    user_keys: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    weights: np.ndarray


def replicate(columns: Columns, count: int, seed: int, stream: int) -> Replicates:
    """The metrics of `count` bootstrap samples by user.

    Two calls with the same users, seed and stream draw the same samples, so the metrics of
    two models can be compared replicate by replicate.

    Args:
        columns: the rows.
        count: of replicates.
        seed: of all draws.
        stream: tells the draws of one domain from another's.

    Returns:
        For each of `RESAMPLED`, [count]; NaN where a replicate leaves it undefined.
    """
    users, code = np.unique(columns.user_keys, return_inverse=True)
    draws = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream])))
    sums = _user_sums(columns, code, len(users))
    area = _SortedRows(columns, code)
    result = {name: np.full(count, np.nan) for name in RESAMPLED}
    for number in range(count if len(users) > 1 else 0):
        times = np.bincount(
            draws.integers(0, len(users), len(users)), minlength=len(users)
        ).astype(np.float64)
        totals = times @ sums
        result['auc'][number] = area.auc(times)
        for name, (over, under) in (
            ('gauc', totals[0:2]),
            ('log_loss', totals[2:4]),
            ('pcoc', totals[4:6]),
        ):
            result[name][number] = over / under if under > 0 else np.nan
    return result


def interval(values: np.ndarray, confidence: float) -> list[float] | None:
    """The percentile interval of replicates; None where most of them are undefined."""
    values = values[~np.isnan(values)] if len(values) else values
    if len(values) < 2:
        return None
    tail = (1 - confidence) / 2
    return [float(bound) for bound in np.quantile(values, [tail, 1 - tail])]


def _user_sums(columns: Columns, code: np.ndarray, users: int) -> np.ndarray:
    """What the ratios are made of, [users, 6]: their numerators and denominators in turn."""
    areas = user_aucs(code, users, columns.labels, columns.scores)
    impressions = np.where(np.isnan(areas), 0, np.bincount(code, minlength=users))
    weights = columns.weights
    losses = row_losses(columns.labels, columns.scores)
    return np.stack(
        [
            np.nan_to_num(areas) * impressions,
            impressions,
            np.bincount(code, weights * losses, users),
            np.bincount(code, weights, users),
            np.bincount(code, weights * columns.scores, users),
            np.bincount(code, weights * columns.labels, users),
        ],
        axis=1,
    )


class _SortedRows:
    """Rows in the order of their scores, for the AUC of many weightings of their users."""

    def __init__(self, columns: Columns, code: np.ndarray):
        order = np.argsort(columns.scores, kind='stable')
        scores = np.asarray(columns.scores)[order]
        self._code, self._clicked = code[order], np.asarray(columns.labels)[order] > 0
        first = run_starts(scores)
        self._first = None if len(first) == len(scores) else first

    def auc(self, times: np.ndarray) -> float:
        """The AUC when each user's rows count `times`, [users]; NaN of one class."""
        weights = times[self._code]
        positive = np.where(self._clicked, weights, 0.0)
        negative = weights - positive
        if self._first is not None:
            positive = np.add.reduceat(positive, self._first)
            negative = np.add.reduceat(negative, self._first)
        pairs = positive.sum() * negative.sum()
        if not pairs > 0:
            return np.nan
        return float(positive @ (np.cumsum(negative) - negative / 2) / pairs)

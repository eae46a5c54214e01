"""Exact confidence bounds of shares and rates, for rows that are not independent.

The rows of a user resemble each other, so that n rows of a few users say less than n rows of
n users. They count as fewer rows: as many independent ones as would have the same variance
(Kish, Survey Sampling, 1965: the effective sample size).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Pairs of rows of a user on which the assumption that they are equal is worth as much as they.
_PRIOR_PAIRS = 50


def share_bounds(share: ArrayLike, size: ArrayLike, error: float) -> tuple[Floats, Floats]:
    """Bounds of a share (Clopper and Pearson, Biometrika, 1934).

    Args:
        share: Observed shares, in [0, 1].
        size: Number of independent rows, which need not be an integer, of the same shape.
        error: Probability with which each bound is wrong, at most.

    Returns:
        Lower and upper bounds.
    """
    share, size = np.asarray(share, np.float64), np.asarray(size, np.float64)
    count = np.clip(share * size, 0.0, size)
    with np.errstate(invalid='ignore'):
        low = special.betaincinv(count, size - count + 1, error)
        high = special.betainccinv(count + 1, size - count, error)
    return np.where(count <= 0, 0.0, low), np.where(count >= size, 1.0, high)


def rate_bounds(count: ArrayLike, error: float) -> tuple[Floats, Floats]:
    """Bounds of the mean of a Poisson distribution (Garwood, Biometrika, 1936).

    Args:
        count: Observed numbers of independent rows, which need not be integers.
        error: Probability with which each bound is wrong, at most.

    Returns:
        Lower and upper bounds.
    """
    count = np.asarray(count, np.float64)
    low = special.gammaincinv(np.maximum(count, 1e-9), error)
    return np.where(count <= 0, 0.0, low), special.gammainccinv(count + 1, error)


def effective_size(independent: ArrayLike, clustered: ArrayLike, correlation: float) -> Floats:
    """The effective number of rows whose values correlate within a user.

    Args:
        independent: Effective number of rows if the rows of a user are independent.
        clustered: Effective number of rows if the rows of a user are all equal.
        correlation: Correlation of the rows of a user, in [0, 1].
    """
    inverse = (1 - correlation) / np.asarray(independent, np.float64)
    sizes: Floats = 1 / (inverse + correlation / np.asarray(clustered, np.float64))
    return sizes


def correlation_within(groups: Ints, values: Ints) -> float:
    """How much likelier two rows of a group have the same value than any two rows, in [0, 1].

    This is kappa, with the share of equal pairs as agreement; without pairs it is 1.

    Args:
        groups: Group of each row.
        values: Value of each row.
    """
    _, value = np.unique(values, return_inverse=True)
    _, group = np.unique(groups, return_inverse=True)
    frequencies = np.bincount(value) / max(len(value), 1)
    chance = float((frequencies**2).sum())
    cells = np.unique(group * (value.max(initial=0) + 1) + value, return_counts=True)[1]
    equal = float((cells * (cells - 1)).sum())
    pairs = float((np.bincount(group) * (np.bincount(group) - 1)).sum())
    agreement = (equal + _PRIOR_PAIRS) / (pairs + _PRIOR_PAIRS)
    return float(np.clip((agreement - chance) / max(1 - chance, 1e-12), 0.0, 1.0))

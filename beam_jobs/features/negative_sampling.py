"""Negative sampling by CTR ratio (MAMDR, eq. 23), and down-sampling (CTNet 4.1).

A domain with P positives and CTR ratio r gets N = floor(P / r + 1/2) negatives. Its positives
share them in a fixed order (split, bucket, then the order of rows): positive number i, from 0,
gets floor((i + 1) N / P) - floor(i N / P). So the domain's total is exact, and each split's is
within one of its share.

The item of a negative is an item of the domain that the user does not know. If rows are split
by days, time or periods, an example contains nothing from its future: the item had appeared in
the domain by the end of the positive's day (and split), and the user had not interacted with
it, in any domain, by the end of the split. In a random split (`by: user`, as in MAMDR's
benchmarks) it is any item of the domain that the user has not interacted with in the whole log.
"""

import numpy as np
import pyarrow as pa

from beam_jobs.config import RANDOM, SamplingConfig
from beam_jobs.rows.random_draws import Stream, hash64, hash_strings, uniform


def catalogue_days(day: np.ndarray, split: np.ndarray, by: str, splits: int) -> np.ndarray:
    """The days by which items are candidates, as integers that ascend with time.

    A day on which a split by time ends counts as two, so that items that appear later on that
    day are not candidates in the split.

    Args:
        day: Day number of each row, `int64[rows]`.
        split: Split of each row, `int8[rows]`.
        by: How rows are split; `user` and `inputs` give all rows the same day.
        splits: Number of splits.

    Returns:
        `int64[rows]`.
    """
    if by in RANDOM:
        return np.zeros(len(day), np.int64)
    return day * splits + np.maximum(split, 0) if by == 'time' else day


def number_of_negatives(positives: int, ratio: float) -> int:
    """The negatives of a domain: positives / ratio, half rounded up."""
    return int(np.floor(positives / ratio + 0.5))


def ctr_ratio_of(domain: str, config: SamplingConfig, seed: int) -> float | None:
    """The domain's CTR ratio; None if it has none.

    A ratio from a range is drawn by the seed and the domain's name, so that it does not
    depend on the other domains.
    """
    ratio = config.ctr_ratio
    if isinstance(ratio, dict):
        return ratio.get(domain)
    if isinstance(ratio, tuple):
        key = hash_strings(pa.array([domain]))
        low, high = ratio
        return float(low + (high - low) * uniform(seed, Stream.CTR_RATIO, key)[0])
    return ratio


def negatives_per_positive(
    numbers: np.ndarray, positives: np.ndarray, negatives: np.ndarray
) -> np.ndarray:
    """The number of negatives of each positive.

    Args:
        numbers: Number of each positive in its domain, from 0, `int64[n]`.
        positives: Number of positives in its domain, `int64[n]`.
        negatives: Number of negatives in its domain, `int64[n]`.
    """
    return (numbers + 1) * negatives // positives - numbers * negatives // positives


def is_kept(
    config: SamplingConfig, seed: int, click: np.ndarray, keys: np.ndarray
) -> np.ndarray:
    """Which rows of the log become examples: every click, and a random part of the others.

    With a CTR ratio, the log's rows without a click are interactions, but not examples.

    Args:
        config: The `sampling` section.
        seed: Random seed.
        click: 0 or 1, `[rows]`.
        keys: Keys of the rows, `uint64[rows]`.

    Returns:
        `bool[rows]`.
    """
    if config.ctr_ratio is not None:
        return click > 0
    if config.keep_negatives == 1.0:
        return np.ones(len(click), bool)
    return (click > 0) | (uniform(seed, Stream.DOWN_SAMPLING, keys) < config.keep_negatives)


def draw_keys(row_keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The keys of each row's draws, from the row's key and the draw's number; `uint64`."""
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return hash64(np.repeat(row_keys, counts), number)

"""Assigns rows to splits: by days, by periods, by order of time, or within each user."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
import pyarrow as pa

from beam_jobs.config import SplitConfig
from beam_jobs.rows.mergeable import NumberCounts
from beam_jobs.rows.random_draws import Stream, uniform
from mdctr.days import day_name, day_number, day_start, days_of

OUTSIDE = -1  # in no split
TRAIN = 0  # of a split by time, by user or by inputs
EARLIER = -2  # a row of the dataset that is being extended
_NAMES = ('train', 'validation', 'test')


class Splits(Protocol):
    """The splits of a dataset.

    Attributes:
        names: Names of the splits, by number.
        days: First and last day of the splits whose days the configuration fixes, by name.
    """

    names: list[str]
    days: dict[str, tuple[str, str]]

    def assign(self, user: np.ndarray, timestamp: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """The number of each row's split, or `OUTSIDE`.

        Args:
            user: Codes of the users, `int[rows]`; the rows of a user are adjacent.
            timestamp: Seconds since 1970-01-01 UTC, `[rows]`.
            keys: Keys of the rows, `uint64[rows]`.

        Returns:
            `int8[rows]`.
        """
        ...

    def ends(self) -> list[float | None]:
        """The time by which each split has ended, in seconds; None if it is the log's end."""
        ...


class ConfiguredSplits:
    """The splits of the `split` section. A split whose share is 0 is left out."""

    def __init__(
        self,
        config: SplitConfig,
        seed: int,
        first_day: int,
        timestamps: NumberCounts | None,
        utc_offset: float = 0.0,
    ):
        """Args:
        config: The `split` section.
        seed: Random seed of the draws within a user.
        first_day: Day number of the log's first day.
        timestamps: Counts of the log's timestamps; required for `by: time`.
        utc_offset: Hours by which days begin before UTC's.
        """
        self._by, self._seed, self._utc_offset = config.by, seed, utc_offset
        self.days: dict[str, tuple[str, str]] = {}
        if config.by == 'periods':
            self.days = _period_days(config, first_day)
        elif config.days is not None:
            self.days = dict(config.days)
        if config.fractions is None:
            self.names = list(self.days)
            return
        self.names = [
            name for name, share in zip(_NAMES, config.fractions, strict=True) if share > 0
        ]
        self._shares = np.cumsum([share for share in config.fractions if share > 0])[:-1]
        if timestamps is not None:
            self._thresholds = _time_thresholds(timestamps, self._shares)

    def assign(self, user: np.ndarray, timestamp: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """See `Splits.assign`."""
        if self._by == 'time':
            return np.searchsorted(self._thresholds, timestamp, side='right').astype(np.int8)
        if self._by == 'user':
            return self._within_users(user, keys)
        return assign_by_day(self.days.values(), days_of(timestamp, self._utc_offset))

    def ends(self) -> list[float | None]:
        """See `Splits.ends`."""
        if self._by == 'user':
            return [None] * len(self.names)
        if self._by == 'time':
            ends = [end if np.isfinite(end) else None for end in self._thresholds.tolist()]
            return [*ends, None]
        return _ends_of_days(self.days, self._utc_offset)

    def _within_users(self, user: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Cuts each user's rows, in random order, at the fractions.

        A user's cuts are shifted by one random offset, so that every split gets its expected
        share even of users with few rows.
        """
        order = np.lexsort((uniform(self._seed, Stream.SPLIT, keys), user))
        sizes = np.bincount(user)
        start = (np.cumsum(sizes) - sizes)[user]
        rank = np.empty(len(user), np.int64)
        rank[order] = np.arange(len(user))
        smallest_key = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(smallest_key, user, keys)
        offset = uniform(self._seed, Stream.SPLIT_OFFSET, smallest_key)[user]
        position = (rank - start + offset) / sizes[user]
        return np.searchsorted(self._shares, position, side='right').astype(np.int8)


class GivenSplits:
    """The splits of a log whose inputs are split already, the training split first."""

    def __init__(self, names: Iterable[str]):
        self.names = sorted(names, key=lambda name: name != 'train')
        self.days: dict[str, tuple[str, str]] = {}

    def assign(self, user: np.ndarray, timestamp: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Not used: the split of a row is in its column `input_split`; see `numbers_of`."""
        raise NotImplementedError

    def numbers_of(self, splits: pa.DictionaryArray) -> np.ndarray:
        """The number of each row's split, `int8[rows]`."""
        numbers = [self.names.index(name) for name in splits.dictionary.to_pylist()]
        return np.array(numbers or [OUTSIDE], np.int8)[splits.indices.to_numpy()]

    def ends(self) -> list[float | None]:
        """See `Splits.ends`."""
        return [None] * len(self.names)


class AddedSplit:
    """The one split that extending adds to a dataset: all rows of its days."""

    def __init__(self, name: str, days: tuple[str, str], utc_offset: float = 0.0):
        self.names, self.days, self._utc_offset = [name], {name: days}, utc_offset

    def assign(self, user: np.ndarray, timestamp: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """See `Splits.assign`."""
        return assign_by_day(self.days.values(), days_of(timestamp, self._utc_offset))

    def ends(self) -> list[float | None]:
        """See `Splits.ends`."""
        return _ends_of_days(self.days, self._utc_offset)


def training_splits(splits: list[str]) -> list[str]:
    """The splits of a dataset by periods that a model is trained on: all but `test`."""
    return [name for name in splits if name != 'test']


def within_days(
    ranges: Iterable[tuple[str, str]], timestamp: np.ndarray, utc_offset: float = 0.0
) -> np.ndarray:
    """Whether each row's day is in one of the ranges.

    Args:
        ranges: First and last day of each range, both included.
        timestamp: Seconds since 1970-01-01 UTC, `[rows]`.
        utc_offset: Hours by which days begin before UTC's.

    Returns:
        `bool[rows]`.
    """
    return assign_by_day(ranges, days_of(timestamp, utc_offset)) != OUTSIDE


def assign_by_day(ranges: Iterable[tuple[str, str]], day: np.ndarray) -> np.ndarray:
    """The number of the range that each day is in, or `OUTSIDE`; `int8[len(day)]`."""
    splits = np.full(len(day), OUTSIDE, np.int8)
    for number, (first, last) in enumerate(ranges):
        splits[(day >= day_number(first)) & (day <= day_number(last))] = number
    return splits


def _ends_of_days(days: dict[str, tuple[str, str]], utc_offset: float) -> list[float | None]:
    return [day_start(day_number(last) + 1, utc_offset) for _, last in days.values()]


def _period_days(config: SplitConfig, first_day: int) -> dict[str, tuple[str, str]]:
    start = first_day if config.first_day is None else day_number(config.first_day)
    days = {}
    for number in range(config.periods):
        begin = start + number * config.period_days
        days[f'period-{number + 1}'] = (
            day_name(begin),
            day_name(begin + config.period_days - 1),
        )
    test = day_name(start + config.periods * config.period_days)
    return days | {'test': (test, test)}


def _time_thresholds(timestamps: NumberCounts, shares: np.ndarray) -> np.ndarray:
    """The first timestamp of each split but the first.

    A row's place is the share of rows with an earlier timestamp, so that rows of the same
    time are in the same split. Repeated impressions count, since they are dropped later.
    """
    before = np.cumsum(timestamps.counts) - timestamps.counts
    total = timestamps.counts.sum()
    # Rounded, since sums of decimal shares are not exact: 0.6 + 0.2 of 10 rows is 8 of them.
    first = np.searchsorted(before, np.round(shares * total, 6), side='left')
    return np.append(timestamps.numbers(), np.inf)[first]

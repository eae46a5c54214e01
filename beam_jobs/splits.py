"""Which split a row belongs to: by days, by periods, by order of time, or within each user."""

import datetime
from collections.abc import Iterable

import numpy as np

from beam_jobs.config import SplitConfig
from beam_jobs.draws import Purpose, uniform
from beam_jobs.rows import days_of
from beam_jobs.summaries import NumberCounts

OUTSIDE = -1
EARLIER = -2  # a row of the dataset that is being extended
_THREE = ('train', 'validation', 'test')


class Splitter:
    """Gives each row the number of its split.

    Attributes:
        names: of the splits; a split whose share is 0 is not there.
        days: by name the first and last day, where the configuration fixes them.
    """

    def __init__(self, config: SplitConfig, seed: int, first_day: int,
                 timestamps: NumberCounts | None, utc_offset: float = 0.0):
        """Args:
            config: the `split` section.
            seed: of the draws within a user.
            first_day: of the log, in days since 1970.
            timestamps: of the log, for `by: time`.
            utc_offset: hours by which days begin before UTC's.
        """
        self._config, self._seed, self._utc_offset = config, seed, utc_offset
        self.days: dict[str, tuple[str, str]] = {}
        if config.by == 'days':
            self.days = dict(config.days)
        elif config.by == 'periods':
            self.days = _periods(config, first_day)
        if config.fractions is None:
            self.names = list(self.days)
        else:
            self.names = [name for name, share in zip(_THREE, config.fractions, strict=True)
                          if share > 0]
            shares = np.cumsum([share for share in config.fractions if share > 0])[:-1]
            self._shares = shares
        if config.by == 'time':
            self._thresholds = _time_thresholds(timestamps, shares)

    def assign(self, user: np.ndarray, timestamp: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """The split of each row, `int8[rows]`, `OUTSIDE` where it is in none.

        Args:
            user: codes; the rows of a user stand side by side.
            timestamp: seconds.
            keys: the rows' keys, `uint64`.
        """
        if self._config.by == 'time':
            return np.searchsorted(self._thresholds, timestamp, side='right').astype(np.int8)
        if self._config.by == 'user':
            return self._within_users(user, keys)
        return by_days(self.days, days_of(timestamp, self._utc_offset))

    def _within_users(self, user: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Cuts each user's rows, in random order, at the fractions.

        A user's cuts are shifted by one random offset, so that every split gets its share in
        expectation also of users with few rows.
        """
        order = np.lexsort((uniform(self._seed, Purpose.SPLIT, keys), user))
        sizes = np.bincount(user)
        start = (np.cumsum(sizes) - sizes)[user]
        rank = np.empty(len(user), np.int64)
        rank[order] = np.arange(len(user))
        smallest_key = np.full(len(sizes), np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(smallest_key, user, keys)
        offset = uniform(self._seed, Purpose.SPLIT_OFFSET, smallest_key)[user]
        position = (rank - start + offset) / sizes[user]
        return np.searchsorted(self._shares, position, side='right').astype(np.int8)


class OneSplit:
    """Gives new rows of a dataset that is extended the number 0, if they are of its days.

    Attributes:
        names, days: as of `Splitter`.
    """

    def __init__(self, name: str, days: tuple[str, str], utc_offset: float = 0.0):
        self.names, self.days, self._utc_offset = [name], {name: days}, utc_offset

    def assign(self, user: np.ndarray, timestamp: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """As `Splitter.assign`."""
        return by_days(self.days, days_of(timestamp, self._utc_offset))


def training_splits(splits: list[str]) -> list[str]:
    """Of splits by periods, those that a model is trained on: all but the day of the test."""
    return [name for name in splits if name != 'test']


def day_number(day: str) -> int:
    """Days since 1970 of an ISO day."""
    return (datetime.date.fromisoformat(day) - datetime.date(1970, 1, 1)).days


def day_name(number: int) -> str:
    """The ISO day so many days after 1970-01-01."""
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=int(number))).isoformat()


def within(days: Iterable[tuple[str, str]], timestamp: np.ndarray,
           utc_offset: float = 0.0) -> np.ndarray:
    """Whether each row's day is in any of the ranges `days`, both ends included."""
    day = days_of(timestamp, utc_offset)
    inside = np.zeros(len(day), bool)
    for first, last in days:
        inside |= (day >= day_number(first)) & (day <= day_number(last))
    return inside


def by_days(days: dict[str, tuple[str, str]], day: np.ndarray) -> np.ndarray:
    """The number of the range in `days` that each day is in, or `OUTSIDE`; `int8[len(day)]`.
    """
    splits = np.full(len(day), OUTSIDE, np.int8)
    for number, (first, last) in enumerate(days.values()):
        splits[(day >= day_number(first)) & (day <= day_number(last))] = number
    return splits


def _periods(config: SplitConfig, first_day: int) -> dict[str, tuple[str, str]]:
    start = first_day if config.start is None else day_number(config.start)
    days = {}
    for number in range(config.periods):
        begin = start + number * config.period_days
        days[f'period-{number + 1}'] = (day_name(begin),
                                        day_name(begin + config.period_days - 1))
    test = day_name(start + config.periods * config.period_days)
    return days | {'test': (test, test)}


def _time_thresholds(timestamps: NumberCounts, shares: np.ndarray) -> np.ndarray:
    """The first timestamp of each later split.

    A row's place is the share of rows with an earlier timestamp, so rows of one time are
    never parted. Repeated impressions count here, before they are dropped.
    """
    before = np.cumsum(timestamps.counts) - timestamps.counts
    total = timestamps.counts.sum()
    # Rounded, since sums of decimal shares are not exact: 0.6 + 0.2 of 10 rows is 8 of them.
    first = np.searchsorted(before, np.round(shares * total, 6), side='left')
    return np.append(timestamps.numbers(), np.inf)[first]

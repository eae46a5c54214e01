"""What the log shows of a value up to the end of the day before: impressions and clicks.

A statistic of a row counts, of all rows with the same values (the item, the user, the item in
the domain, ...), those of earlier days: never the row itself, never rows of its own day or of
later ones, whichever split they are in. So a server knows it too, that takes over the log
once a day. What a user did on the day itself is left out on purpose: among few impressions of
a user, clicks just before say which of the rest is *not* clicked, and a model that learns
that ranks a user's items upside down.

All rows of the log count, each impression once: also those that are outside the splits or are
left out of the examples by down-sampling; sampled negatives are no rows of the log and never
count, but get the statistic of their own item on their positive's day.

Every bucket counts by value and day, one worker merges the counts (40 bytes for each value and
day that it occurs on), and the workers that write examples map the merged file.
"""

import json
import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from beam_jobs.atomic import read_arrow, write_arrow
from beam_jobs.bucket import codes, numbers, values
from beam_jobs.config import DatasetConfig, FeatureConfig
from beam_jobs.draws import hash_strings, mix
from beam_jobs.rows import column_of, days_of
from beam_jobs.summaries import NumberCounts, TableCounts


def statistics_of(config: DatasetConfig) -> list[FeatureConfig]:
    """The features that are statistics."""
    return [feature for feature in config.features if feature.kind == 'statistic']


def combinations(config: DatasetConfig) -> dict[str, list[str]]:
    """The combinations that are counted, by a name that is also a file's."""
    return {combination_name(feature): feature.combined for feature in statistics_of(config)}


def combination_name(feature: FeatureConfig) -> str:
    """The name under which the counts of a statistic are kept; several can share them."""
    return '+'.join(feature.combined)


def part_columns(combined: list[str], config: DatasetConfig) -> list[str]:
    """The columns of checked rows that hold the values of a combination."""
    features = {feature.name: feature for feature in config.features}
    return ['domain' if name == 'domain' else column_of(features[name], config)
            for name in combined]


def hashed(table: pa.Table, column: str) -> tuple[np.ndarray, np.ndarray]:
    """A 64-bit hash of each row's value in a dictionary-encoded column, and whether it has one.
    """
    of_row = codes(table, column)
    hashes = np.append(hash_strings(values(table, column)), np.uint64(0))
    return hashes[of_row], of_row >= 0


def key_of(parts: list[np.ndarray]) -> np.ndarray:
    """One 64-bit key for the hashes of the values of a combination, `int64`."""
    return mix(*parts).view(np.int64)


def count_by_day(table: pa.Table, in_training: np.ndarray,
                 config: DatasetConfig) -> Iterator[tuple[str, TableCounts]]:
    """Counts the rows of a sorted bucket, by combination, value and day.

    Args:
        table: the rows.
        in_training: which are in the split from which boundaries come.
        config: the `dataset` section.

    Yields:
        `past/<combination>` and a table of `key`, `day`, `rows`, `clicks` and `trained`, rows
        in training.
    """
    day = days_of(numbers(table, 'timestamp'), config.utc_offset)
    click = numbers(table, 'click').astype(np.int64)
    for name, combined in combinations(config).items():
        parts, there = zip(*(hashed(table, column) for column in part_columns(
            combined, config)), strict=True)
        known = np.logical_and.reduce(there)
        counts = pa.table({
            'key': key_of(list(parts))[known], 'day': day[known],
            'rows': np.ones(known.sum(), np.int64), 'clicks': click[known],
            'trained': in_training[known].astype(np.int64)})
        yield f'past/{name}', TableCounts.merge([TableCounts(counts, 2)])


class PastCounts:
    """Impressions and clicks of each key before a day, from a file that workers map."""

    def __init__(self, path: str):
        """Opens what `write` wrote."""
        table, keys = read_arrow(path), read_arrow(_keys_path(path))
        self._place = table['place'].to_numpy()
        self._upto = {name: table[name].to_numpy() for name in ('rows', 'clicks')}
        self._keys, self._first = keys['key'].to_numpy(), keys['first'].to_numpy()
        about = json.loads(table.schema.metadata[b'about'])
        self._day, self._days = about['day'], about['days']
        self._all = {name: np.asarray(about[name]) for name in ('rows', 'clicks')}

    @staticmethod
    def write(path: str, counts: TableCounts) -> None:
        """Writes merged counts of `count_by_day`."""
        table = counts.table
        key, day = table['key'].to_numpy(), table['day'].to_numpy()
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])
                               ) if len(key) else np.zeros(0, np.int64)
        begin, days = (int(day.min()), int(np.ptp(day)) + 1) if len(key) else (0, 1)
        number = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(key))))
        sums = {name: table[name].to_numpy() for name in ('rows', 'clicks')}
        about = {'day': begin, 'days': days} | {
            name: np.cumsum(np.bincount(day - begin, each, days)).astype(np.int64).tolist()
            for name, each in sums.items()}
        write_arrow(_keys_path(path), pa.table({'key': key[first], 'first': first}))
        write_arrow(path, pa.table(
            {'place': number * (days + 1) + day - begin}
            | {name: np.cumsum(each) for name, each in sums.items()}
        ).replace_schema_metadata({'about': json.dumps(about)}))

    def before(self, keys: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Impressions and clicks of each key on the days before its `day`; `int64` both."""
        if not len(self._keys):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
        number = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        since = np.clip(day - self._day, 0, self._days)
        end = np.searchsorted(self._place, number * (self._days + 1) + since)
        begin = self._first[number]
        end = np.where(self._keys[number] == keys, end, begin)
        return tuple(_upto(of, end) - _upto(of, begin) for of in self._upto.values())

    def overall_rate(self, day: np.ndarray) -> np.ndarray:
        """The click rate of all keys on the days before `day`; NaN where there were none."""
        since = np.clip(day - self._day, 0, self._days)
        rows, clicks = (_upto(of, since) for of in self._all.values())
        return np.divide(clicks, rows, out=np.full(len(since), np.nan), where=rows > 0)

    def values(self, feature: FeatureConfig, keys: np.ndarray, day: np.ndarray) -> np.ndarray:
        """The statistic `feature` of each key before its day.

        A click rate is (clicks + s p) / (impressions + s), p being the rate of all keys and s
        the feature's `smoothing`; NaN where the key had no impression.
        """
        rows, clicks = self.before(keys, day)
        if feature.value == 'count':
            return rows.astype(np.float64)
        seen, smoothing = rows > 0, feature.smoothing
        rate = np.full(len(rows), np.nan)
        prior = self.overall_rate(day[seen])
        rate[seen] = (clicks[seen] + smoothing * prior) / (rows[seen] + smoothing)
        return rate


def numbers_in_training(path: str, counts: TableCounts, feature: FeatureConfig) -> NumberCounts:
    """How often each value of a statistic occurs in training, for its boundaries."""
    table = counts.table
    trained = table['trained'].to_numpy()
    there = trained > 0
    found = PastCounts(path).values(feature, table['key'].to_numpy()[there],
                                    table['day'].to_numpy()[there])
    known = ~np.isnan(found)
    return NumberCounts.of(found[known], trained[there][known])


def past_path(staging: str, name: str) -> str:
    """Where the counts of a combination are while a dataset is built."""
    return os.path.join(staging, 'past', f'{name}.arrow')


def _keys_path(path: str) -> str:
    return path.removesuffix('.arrow') + '.keys.arrow'


def _upto(sums: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The sum of what comes before `end`, given running sums."""
    if not len(sums):
        return np.zeros(len(end), np.int64)
    return np.where(end > 0, sums[np.maximum(end, 1) - 1], 0)

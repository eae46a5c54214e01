"""Target statistics: impressions and clicks of a value up to the end of the previous day.

The statistic of a row is computed from all rows with the same values (the item, the user, the
item in the domain, ...) of earlier days: never from the row itself, never from rows of its own
day or of later days, whichever split they are in. A server that loads the log once a day
therefore knows it too. A user's own day is excluded on purpose: among a user's few
impressions, clicks just before tell which of the others were *not* clicked, and a model that
learns this ranks the user's items upside down.

All rows of the log count, each impression once, including those outside the splits and those
that down-sampling leaves out of the examples; but only training rows if the split is random
(`by: user`), since held-out rows are not later than training rows there. Sampled negatives are
not rows of the log and do not count; they get the statistic of their own item on their
positive's day.

Each bucket counts rows by value and day, one worker merges the counts (40 bytes per value and
day on which it occurs), and the workers that write examples map the merged file.
"""

import json
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from beam_jobs.arrow_files import fetch_arrow, write_arrow
from beam_jobs.config import DatasetConfig, StatisticFeature
from beam_jobs.rows.columns import codes, numbers, values
from beam_jobs.rows.mergeable import NumberCounts, TableCounts
from beam_jobs.rows.random_draws import hash64, hash_strings
from beam_jobs.rows.validate_rows import column_of
from mdctr import storage
from mdctr.days import days_of
from mdctr.runs import run_starts


def statistics_of(config: DatasetConfig) -> list[StatisticFeature]:
    """The features that are target statistics."""
    return [feature for feature in config.features if isinstance(feature, StatisticFeature)]


def combinations(config: DatasetConfig) -> dict[str, list[str]]:
    """The feature combinations that are counted, by a name that is also the file's."""
    return {combination_name(feature): feature.columns for feature in statistics_of(config)}


def combination_name(feature: StatisticFeature) -> str:
    """The name of a statistic's combination; several statistics can share its counts.

    Names of features are quoted, so that a `+` in one is not taken for a separator.
    """
    return '+'.join(quote(name, safe='') for name in feature.columns)


def combination_columns(combined: list[str], config: DatasetConfig) -> list[str]:
    """The columns of validated rows that contain the values of a combination."""
    features = {feature.name: feature for feature in config.features}
    return [
        'domain' if name == 'domain' else column_of(features[name], config) for name in combined
    ]


def hash_column(table: pa.Table, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Hashes a dictionary-encoded column.

    Returns:
        The hash of each row's value, `uint64[rows]`, and whether it has one, `bool[rows]`.
    """
    row_codes = codes(table, column)
    hashes = np.append(hash_strings(values(table, column)), np.uint64(0))
    return hashes[row_codes], row_codes >= 0


def combination_keys(hashes: list[np.ndarray]) -> np.ndarray:
    """One key for each row of a combination's hashed columns, `int64[rows]`."""
    return hash64(*hashes).view(np.int64)


def count_by_day(
    table: pa.Table, visible: np.ndarray, in_training: np.ndarray, config: DatasetConfig
) -> Iterator[tuple[str, TableCounts]]:
    """Counts the rows of a sorted bucket by combination, value and day.

    Args:
        table: Rows of a sorted bucket.
        visible: The rows that count, `bool[rows]`.
        in_training: The rows that determine the boundaries, `bool[rows]`.
        config: The `dataset` section.

    Yields:
        The combination's name and a table of `key`, `day`, `rows`, `clicks` and `trained`,
        the rows in training.
    """
    day = days_of(numbers(table, 'timestamp'), config.utc_offset)
    click = numbers(table, 'click').astype(np.int64)
    for name, combined in combinations(config).items():
        columns = combination_columns(combined, config)
        hashes, has_value = zip(
            *(hash_column(table, column) for column in columns), strict=True
        )
        counted = np.logical_and.reduce(has_value) & visible
        counts = pa.table(
            {
                'key': combination_keys(list(hashes))[counted],
                'day': day[counted],
                'rows': np.ones(counted.sum(), np.int64),
                'clicks': click[counted],
                'trained': in_training[counted].astype(np.int64),
            }
        )
        yield name, TableCounts.merge([TableCounts(counts, 2)])


class DailyCounts:
    """Impressions and clicks of each key before a day, from a file that workers map."""

    def __init__(self, path: str):
        """Opens the file that `write` wrote."""
        table, keys = fetch_arrow(path), fetch_arrow(_keys_path(path))
        self._place = table['place'].to_numpy()
        self._sums = {name: table[name].to_numpy() for name in ('rows', 'clicks')}
        self._keys, self._first = keys['key'].to_numpy(), keys['first'].to_numpy()
        about = json.loads(table.schema.metadata[b'about'])
        self._day, self._days = about['day'], about['days']
        self._overall = {name: np.asarray(about[name]) for name in ('rows', 'clicks')}

    @staticmethod
    def write(path: str, counts: TableCounts) -> None:
        """Writes the merged counts of `count_by_day`."""
        table = counts.table
        key, day = table['key'].to_numpy(), table['day'].to_numpy()
        first = run_starts(key)
        begin, days = (int(day.min()), int(np.ptp(day)) + 1) if len(key) else (0, 1)
        number = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(key))))
        counted = {name: table[name].to_numpy() for name in ('rows', 'clicks')}
        about = {'day': begin, 'days': days} | {
            name: np.cumsum(np.bincount(day - begin, count, days)).astype(np.int64).tolist()
            for name, count in counted.items()
        }
        write_arrow(_keys_path(path), pa.table({'key': key[first], 'first': first}))
        write_arrow(
            path,
            pa.table(
                {'place': number * (days + 1) + day - begin}
                | {name: np.cumsum(count) for name, count in counted.items()}
            ).replace_schema_metadata({'about': json.dumps(about)}),
        )

    def before(self, keys: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Impressions and clicks of each key on the days before its day.

        Args:
            keys: `int64[n]`.
            day: Day numbers, `int64[n]`.

        Returns:
            `int64[n]` each.
        """
        if not len(self._keys):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
        number = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        since = np.clip(day - self._day, 0, self._days)
        end = np.searchsorted(self._place, number * (self._days + 1) + since)
        begin = self._first[number]
        end = np.where(self._keys[number] == keys, end, begin)
        rows, clicks = (
            _sum_before(sums, end) - _sum_before(sums, begin) for sums in self._sums.values()
        )
        return rows, clicks

    def overall_rate(self, day: np.ndarray) -> np.ndarray:
        """The click rate of all keys on the days before `day`; NaN without impressions."""
        since = np.clip(day - self._day, 0, self._days)
        rows, clicks = (_sum_before(sums, since) for sums in self._overall.values())
        return np.divide(clicks, rows, out=np.full(len(since), np.nan), where=rows > 0)

    def statistic(
        self, feature: StatisticFeature, keys: np.ndarray, day: np.ndarray
    ) -> np.ndarray:
        """The statistic `feature` of each key before its day, `float64[n]`.

        A click rate is (clicks + s p) / (impressions + s), where p is the rate of all keys
        and s the feature's `smoothing`; NaN for a key without impressions.
        """
        rows, clicks = self.before(keys, day)
        if feature.aggregation == 'count':
            return rows.astype(np.float64)
        seen, smoothing = rows > 0, feature.smoothing
        rate = np.full(len(rows), np.nan)
        prior = self.overall_rate(day[seen])
        rate[seen] = (clicks[seen] + smoothing * prior) / (rows[seen] + smoothing)
        return rate


def statistic_in_training(
    path: str, counts: TableCounts, feature: StatisticFeature
) -> NumberCounts:
    """How often each value of a statistic occurs in training, for its boundaries.

    Args:
        path: File of the `DailyCounts`.
        counts: The merged counts that it was written from.
        feature: The statistic.
    """
    table = counts.table
    trained = table['trained'].to_numpy()
    occurs = trained > 0
    statistic = DailyCounts(path).statistic(
        feature, table['key'].to_numpy()[occurs], table['day'].to_numpy()[occurs]
    )
    known = ~np.isnan(statistic)
    return NumberCounts.of(statistic[known], trained[occurs][known])


def daily_counts_path(staging: str, name: str) -> str:
    """The file of a combination's counts while a dataset is built."""
    return storage.join(staging, 'daily-counts', f'{name}.arrow')


def _keys_path(path: str) -> str:
    return path.removesuffix('.arrow') + '.keys.arrow'


def _sum_before(cumulative: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The sum of the elements before `end`, from cumulative sums."""
    if not len(cumulative):
        return np.zeros(len(end), np.int64)
    return np.where(end > 0, cumulative[np.maximum(end, 1) - 1], 0)

"""Rows to ids: every feature, through the vocabularies and boundaries of training."""

import functools
import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.bucket import codes, numbers, values
from beam_jobs.config import DatasetConfig, FeatureConfig
from beam_jobs.dataset import Feature
from beam_jobs.draws import hash_strings
from beam_jobs.examples import Lists
from beam_jobs.history import recent_clicks, recent_clicks_in_domain, take_ragged
from beam_jobs.past_counts import (
    PastCounts,
    combination_name,
    combinations,
    hashed,
    key_of,
    part_columns,
    statistics_of,
)
from beam_jobs.rows import column_of, days_of
from beam_jobs.splits import OUTSIDE, by_days, day_number
from beam_jobs.vocabulary import Lookup, bucketize

Ids = dict[str, np.ndarray | Lists]


class Encoder:
    """Turns rows of one bucket, or items, into ids."""

    def __init__(self, config: DatasetConfig, features: Sequence[Feature],
                 lookups: dict[str, str], past: dict[str, str] | None = None):
        """Args:
            config: the `dataset` section.
            features: of the manifest, in the order of the configuration's.
            lookups: by vocabulary name, `domain` among them, the file of its `Lookup`.
            past: by combination, the file of its `PastCounts`.
        """
        self._config, self._lookups, self._past = config, lookups, past or {}
        self._features = {feature.name: feature for feature in features}

    def rows(self, table: pa.Table) -> Ids:
        """Ids of the rows of a sorted bucket: what a negative shares with its positive.

        That is the domain, the time, the user and every feature that is not the item's.
        """
        user = hash_strings(values(table, 'user')).view(np.int64)
        ids: Ids = {'domain': self._single(table, 'domain', 'domain'),
                    'timestamp': np.floor(numbers(table, 'timestamp')).astype(np.int64),
                    'user_key': user[codes(table, 'user')]}
        for feature in self._config.features:
            if feature.kind == 'history':
                ids[feature.name] = self._history(table, feature)
            elif feature.from_row and not of_item(feature):
                ids[feature.name] = self._feature(table, feature)
        return ids

    def items(self, table: pa.Table) -> Ids:
        """Ids of the item's features; `table` holds rows or, once each, items."""
        return {feature.name: self._feature(table, feature)
                for feature in self._config.features if of_item(feature)}

    def statistics(self, table: pa.Table, row: np.ndarray, items: pa.Table | None,
                   item: np.ndarray) -> Ids:
        """Ids of the statistics, of examples.

        Args:
            table: the rows of a sorted bucket.
            row: of each example the row that it is, or whose negative it is.
            items: drawn items, once each; None where none are drawn.
            item: of each example the row whose item it has, or rows + the place in `items`.
        """
        features = {feature.name: feature for feature in self._config.features}
        day = days_of(numbers(table, 'timestamp'), self._config.utc_offset)[row]

        def part(name: str, column: str) -> tuple[np.ndarray, np.ndarray]:
            hashes, there = hashed(table, column)
            if name not in features or not of_item(features[name]):
                return hashes[row], there[row]
            if items is not None:
                more = hashed(items, column)
                hashes = np.concatenate([hashes, more[0]])
                there = np.concatenate([there, more[1]])
            return hashes[item], there[item]

        keyed = {}  # statistics of one combination share what is costly
        for name, combined in combinations(self._config).items():
            parts, there = zip(*map(part, combined, part_columns(combined, self._config)),
                               strict=True)
            keyed[name] = (PastCounts(self._past[name]), key_of(list(parts)),
                           np.logical_and.reduce(there))
        ids: Ids = {}
        for feature in statistics_of(self._config):
            counts, keys, there = keyed[combination_name(feature)]
            known = _split_begins(day, self._config) if feature.until == 'split' else day
            found = counts.values(feature, keys, known)
            found[~there] = np.nan
            ids[feature.name] = bucketize(found, self._features[feature.name].boundaries)
        return ids

    def _feature(self, table: pa.Table, feature: FeatureConfig) -> np.ndarray | Lists:
        column = column_of(feature, self._config)
        if feature.kind == 'numeric':
            return bucketize(numbers(table, column), self._features[feature.name].boundaries)
        if feature.kind == 'sequence':
            return self._lists(table, column, feature.name)
        return self._single(table, column, feature.name)

    def _single(self, table: pa.Table, column: str, vocabulary: str) -> np.ndarray:
        # Missing values have the code -1: they find the 0 at the end.
        by_code = np.append(self._lookup(vocabulary).ids(values(table, column)), 0)
        return by_code[codes(table, column)]

    def _lists(self, table: pa.Table, column: str, vocabulary: str) -> Lists:
        lists = table.column(column).combine_chunks()
        coded = pc.list_flatten(lists).dictionary_encode()
        by_code = self._lookup(vocabulary).ids(coded.dictionary)
        offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy())])
        return Lists(offsets, by_code[coded.indices.to_numpy()])

    def _history(self, table: pa.Table, feature: FeatureConfig) -> Lists:
        column = column_of(feature, self._config)
        remembered = codes(table, column) >= 0
        if feature.remembers != 'shown':
            remembered &= (numbers(table, 'click') > 0) == (feature.remembers == 'clicked')
        if feature.domains is not None:
            counts = pc.is_in(values(table, 'domain'), pa.array(feature.domains, pa.string()))
            remembered &= counts.to_numpy(zero_copy_only=False)[codes(table, 'domain')]
        user, timestamp = codes(table, 'user'), numbers(table, 'timestamp')
        if feature.until == 'day':  # rows of one day do not see each other then
            timestamp = days_of(timestamp, self._config.utc_offset).astype(np.float64)
        if feature.scope == 'domain':
            offsets, rows = recent_clicks_in_domain(user, codes(table, 'domain'), timestamp,
                                                    remembered, feature.length)
        else:
            offsets, rows = recent_clicks(user, timestamp, remembered, feature.length)
        return Lists(offsets, self._single(table, column, feature.of)[rows])

    def _lookup(self, vocabulary: str) -> Lookup:
        path = self._lookups[vocabulary]
        file = os.stat(path)  # a later build in this process has the same paths
        return _open_lookup(path, file.st_ino, file.st_mtime_ns)


def _split_begins(day: np.ndarray, config: DatasetConfig) -> np.ndarray:
    """The first day of the split that each day is in; of training, which is not at once, the
    day itself."""
    days = {name: of for name, of in config.split.days.items() if name != 'train'}
    split = by_days(days, day)
    first = np.array([*map(day_number, (of[0] for of in days.values())), 0])
    return np.where(split == OUTSIDE, day, first[split])


def of_item(feature: FeatureConfig) -> bool:
    """Whether a sampled negative takes this feature from its item."""
    return feature.from_row and (feature.owner == 'item' or feature.name == 'item_id')


def take(ids: Ids, rows: np.ndarray) -> Ids:
    """The ids of `rows`, in their order."""
    return {name: Lists(*take_ragged(*column, rows)) if isinstance(column, Lists)
            else column[rows] for name, column in ids.items()}


def stack(first: Ids, second: Ids) -> Ids:
    """The ids of the rows of `first`, then of `second`."""
    return {name: Lists(np.concatenate([column.offsets,
                                        column.offsets[-1] + second[name].offsets[1:]]),
                        np.concatenate([column.values, second[name].values]))
            if isinstance(column, Lists) else np.concatenate([column, second[name]])
            for name, column in first.items()}


def record_batch(ids: Ids) -> pa.RecordBatch:
    """The ids as a record batch of `list<int64>` columns, as TensorFlow Data Validation wants.
    """
    columns = []
    for column in ids.values():
        lists = column if isinstance(column, Lists) else Lists(np.arange(len(column) + 1),
                                                              column)
        columns.append(pa.ListArray.from_arrays(pa.array(lists.offsets.astype(np.int32)),
                                                pa.array(lists.values)))
    return pa.RecordBatch.from_arrays(columns, names=list(ids))


@functools.lru_cache(maxsize=64)
def _open_lookup(path: str, *_: int) -> Lookup:
    return Lookup(path)

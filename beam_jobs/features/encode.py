"""Encodes rows as ids, using the vocabularies and bucket boundaries of training."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.config import (
    DatasetConfig,
    FeatureBase,
    FeatureConfig,
    HistoryFeature,
    NumericFeature,
    RowFeature,
    SequenceFeature,
)
from beam_jobs.features.history import recent_events, recent_events_in_domain
from beam_jobs.features.ids import Column, Ids, Lists
from beam_jobs.features.lookup import open_lookup
from beam_jobs.features.quantile_buckets import bucketize
from beam_jobs.features.target_statistics import (
    DailyCounts,
    combination_columns,
    combination_keys,
    combination_name,
    combinations,
    hash_column,
    statistics_of,
)
from beam_jobs.rows.columns import array, codes, numbers, values
from beam_jobs.rows.random_draws import hash_strings
from beam_jobs.rows.splits import OUTSIDE, assign_by_day
from beam_jobs.rows.validate_rows import column_of
from mdctr.days import day_number, days_of
from mdctr.manifest import Feature

# The 64-bit hash of each row's value in a column, and whether it has one, by column.
Hashes = dict[str, tuple[np.ndarray, np.ndarray]]


class Encoder:
    """Encodes the rows of one bucket, or items, as ids."""

    def __init__(
        self,
        config: DatasetConfig,
        features: Sequence[Feature],
        lookups: Mapping[str, str],
        daily_counts: Mapping[str, str] | None = None,
    ):
        """Args:
        config: The `dataset` section.
        features: The manifest's features, in the order of the configuration.
        lookups: File of the `Lookup` of each vocabulary, `domain` among them, by name.
        daily_counts: File of the `DailyCounts` of each combination, by name.
        """
        self._config, self._lookups = config, lookups
        self._daily_counts = daily_counts or {}
        self._features = {feature.name: feature for feature in features}

    def shared(self, table: pa.Table, visible: np.ndarray) -> Ids:
        """What a negative shares with its positive: domain, time, user and context.

        Args:
            table: Rows of a sorted bucket.
            visible: The rows that histories may contain, `bool[rows]`.

        Returns:
            `domain`, `timestamp`, `user_key` and every feature that does not belong to the
            item, but statistics.
        """
        user = hash_strings(values(table, 'user')).view(np.int64)
        ids: Ids = {
            'domain': self._single(table, 'domain', 'domain'),
            'timestamp': np.floor(numbers(table, 'timestamp')).astype(np.int64),
            'user_key': user[codes(table, 'user')],
        }
        for feature in self._config.features:
            if isinstance(feature, HistoryFeature):
                ids[feature.name] = self._history(table, feature, visible)
            elif isinstance(feature, RowFeature) and not belongs_to_item(feature):
                ids[feature.name] = self._feature(table, feature)
        return ids

    def item(self, table: pa.Table) -> Ids:
        """The features of each row's item; texts of `table` are dictionary-encoded."""
        return {
            feature.name: self._feature(table, feature)
            for feature in self._config.features
            if belongs_to_item(feature)
        }

    def item_hashes(self, table: pa.Table) -> Hashes:
        """The hashes of the item's columns that target statistics combine."""
        features = {feature.name: feature for feature in self._config.features}
        columns = {
            column
            for combined in combinations(self._config).values()
            for name, column in zip(
                combined, combination_columns(combined, self._config), strict=True
            )
            if name in features and belongs_to_item(features[name])
        }
        return {column: hash_column(table, column) for column in sorted(columns)}

    def statistics(
        self, table: pa.Table, row: np.ndarray, drawn: Hashes, item: np.ndarray
    ) -> Ids:
        """The target statistics of examples.

        Args:
            table: Rows of a sorted bucket.
            row: The row that each example is, or whose negative it is, `int64[examples]`.
            drawn: The item hashes of drawn items; empty if none are drawn.
            item: The row whose item each example has, or the number of rows + its index in
                `drawn`, `int64[examples]`.
        """
        features = {feature.name: feature for feature in self._config.features}
        day = days_of(numbers(table, 'timestamp'), self._config.utc_offset)[row]

        def hashes_of(name: str, column: str) -> tuple[np.ndarray, np.ndarray]:
            hashes, has_value = hash_column(table, column)
            if name not in features or not belongs_to_item(features[name]):
                return hashes[row], has_value[row]
            if drawn:
                hashes = np.concatenate([hashes, drawn[column][0]])
                has_value = np.concatenate([has_value, drawn[column][1]])
            return hashes[item], has_value[item]

        by_combination = {}  # statistics of one combination share what is costly
        for name, combined in combinations(self._config).items():
            columns = combination_columns(combined, self._config)
            hashes, has_value = zip(*map(hashes_of, combined, columns), strict=True)
            by_combination[name] = (
                DailyCounts(self._daily_counts[name]),
                combination_keys(list(hashes)),
                np.logical_and.reduce(has_value),
            )
        ids: Ids = {}
        for feature in statistics_of(self._config):
            counts, keys, all_values = by_combination[combination_name(feature)]
            as_of = _split_begins(day, self._config) if feature.as_of == 'split' else day
            statistic = counts.statistic(feature, keys, as_of)
            statistic[~all_values] = np.nan
            ids[feature.name] = bucketize(statistic, self._features[feature.name].boundaries)
        return ids

    def _feature(self, table: pa.Table, feature: FeatureBase) -> Column:
        column = column_of(feature, self._config)
        if isinstance(feature, NumericFeature):
            return bucketize(numbers(table, column), self._features[feature.name].boundaries)
        if isinstance(feature, SequenceFeature):
            return self._lists(table, column, feature.name)
        return self._single(table, column, feature.name)

    def _single(self, table: pa.Table, column: str, vocabulary: str) -> np.ndarray:
        # Missing values have the code -1, which picks the 0 at the end.
        lookup = open_lookup(self._lookups[vocabulary])
        ids_by_code = np.append(lookup.ids(values(table, column)), 0)
        return ids_by_code[codes(table, column)]

    def _lists(self, table: pa.Table, column: str, vocabulary: str) -> Lists:
        lists = array(table, column)
        encoded = pc.list_flatten(lists).dictionary_encode()
        ids_by_code = open_lookup(self._lookups[vocabulary]).ids(encoded.dictionary)
        offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy())])
        return Lists(offsets, ids_by_code[encoded.indices.to_numpy()])

    def _history(self, table: pa.Table, feature: HistoryFeature, visible: np.ndarray) -> Lists:
        column = column_of(feature, self._config)
        is_event = visible & (codes(table, column) >= 0)
        if feature.events != 'shown':
            is_event &= (numbers(table, 'click') > 0) == (feature.events == 'clicked')
        if feature.domains is not None:
            selected = pc.is_in(values(table, 'domain'), pa.array(feature.domains, pa.string()))
            is_event &= selected.to_numpy(zero_copy_only=False)[codes(table, 'domain')]
        user, timestamp = codes(table, 'user'), numbers(table, 'timestamp')
        if feature.as_of == 'day':  # rows of the same day do not see each other
            timestamp = days_of(timestamp, self._config.utc_offset).astype(np.float64)
        if feature.scope == 'domain':
            offsets, rows = recent_events_in_domain(
                user, codes(table, 'domain'), timestamp, is_event, feature.max_length
            )
        else:
            offsets, rows = recent_events(user, timestamp, is_event, feature.max_length)
        return Lists(offsets, self._single(table, column, feature.feature)[rows])


def belongs_to_item(feature: FeatureConfig) -> bool:
    """Whether a sampled negative takes this feature from its item."""
    return isinstance(feature, RowFeature) and (
        feature.owner == 'item' or feature.name == 'item_id'
    )


def _split_begins(day: np.ndarray, config: DatasetConfig) -> np.ndarray:
    """The first day of each day's split; of days of training or outside, the day itself."""
    splits = config.split.days or {}
    evaluation = {name: days for name, days in splits.items() if name != 'train'}
    split = assign_by_day(evaluation.values(), day)
    first = np.array([*(day_number(first) for first, _ in evaluation.values()), 0])
    return np.where(split == OUTSIDE, day, first[split])

"""Summarizes the rows of a sorted bucket; the summaries of all buckets are merged."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from beam_jobs.build.job import Job
from beam_jobs.build.summaries import (
    DuplicateRows,
    NumericValues,
    PlanTable,
    StatisticCounts,
    Summary,
    VocabularyCounts,
    VocabularyGrowth,
)
from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    NumericFeature,
    RowFeature,
    SequenceFeature,
)
from beam_jobs.features.negative_sampling import catalogue_days
from beam_jobs.features.target_statistics import count_by_day
from beam_jobs.features.vocabulary import count_values, count_values_by_state
from beam_jobs.rows.columns import array, codes, numbers, values
from beam_jobs.rows.mergeable import NumberCounts, TableCounts
from beam_jobs.rows.splits import training_splits
from beam_jobs.rows.validate_rows import column_of
from mdctr.days import days_of


def feature_summaries(
    table: pa.Table, splits: list[str], config: DatasetConfig
) -> Iterator[Summary[Any]]:
    """Summarizes the training rows, from which features get vocabularies and boundaries.

    In a split by periods, vocabularies grow from one period to the next, and boundaries come
    from the first.

    Args:
        table: Rows of a sorted bucket.
        splits: Names of the splits, by number.
        config: The `dataset` section.
    """
    split = numbers(table, 'split')
    in_training = _determines_boundaries(split, splits, config)
    if config.split.by == 'periods':
        trained = (split >= 0) & (split < len(training_splits(splits)))
        yield from growth_summaries(table, np.where(trained, split + 1, -1), config)
    else:
        yield VocabularyCounts('domain', count_values(table, 'domain', in_training))
    for feature in config.features:
        if isinstance(feature, NumericFeature):
            training_values = numbers(table, column_of(feature, config))[in_training]
            yield NumericValues(
                feature.name, NumberCounts.of(training_values[~np.isnan(training_values)])
            )
        elif isinstance(feature, RowFeature) and config.split.by != 'periods':
            column = column_of(feature, config)
            yield VocabularyCounts(feature.name, count_values(table, column, in_training))


def growth_summaries(
    table: pa.Table, state: np.ndarray, config: DatasetConfig
) -> Iterator[Summary[Any]]:
    """Summarizes the rows that vocabularies grow from.

    Args:
        table: Rows of a sorted bucket.
        state: 0 for rows of training splits that the dataset already has, which count only
            towards a `min_count`; 1 and up for rows of its new training splits, in their
            order; negative for all other rows; `int[rows]`.
        config: The `dataset` section.
    """
    new = np.where(state > 0, state, -1)
    yield VocabularyGrowth('domain', count_values_by_state(table, 'domain', new))
    for feature in config.features:
        if isinstance(feature, (CategoricalFeature, SequenceFeature)):
            counted = state if feature.min_count > 1 else new
            column = column_of(feature, config)
            yield VocabularyGrowth(feature.name, count_values_by_state(table, column, counted))


def bucket_summaries(
    bucket: int, table: pa.Table, duplicates: int, splits: list[str], job: Job
) -> Iterator[Summary[Any]]:
    """Summarizes all rows of a bucket.

    Args:
        bucket: Number of the bucket.
        table: Its rows, sorted.
        duplicates: Number of repeated impressions that were dropped.
        splits: Names of the splits, by number.
        job: The build.
    """
    config, split = job.config, numbers(table, 'split')
    domain = codes(table, 'domain')
    day = days_of(numbers(table, 'timestamp'), config.utc_offset)
    click = numbers(table, 'click').astype(np.int64)
    yield DuplicateRows.of(duplicates)
    yield PlanTable('days', _count({'split': split, 'day': day}, {}))
    yield PlanTable(
        'domains',
        _count(
            {'bucket': np.full(len(split), bucket), 'split': split, 'domain': domain},
            {'clicks': click},
            {'domain': values(table, 'domain')},
        ),
    )
    in_training = _determines_boundaries(split, splits, config)
    for name, counts in count_by_day(table, job.visible(split), in_training, config):
        yield StatisticCounts(name, counts)
    if config.sampling.ctr_ratio is not None:
        # Uniform draws need the day on which an item appears, draws by popularity every day.
        keys = {'domain': domain, 'item': codes(table, 'item')}
        days = {'day': catalogue_days(day, split, job.split_by, len(splits))}
        texts = {'domain': values(table, 'domain'), 'item': values(table, 'item')}
        if config.sampling.popularity_exponent == 0:
            yield PlanTable('catalogue', _count(keys, {}, texts, minima=days))
        else:
            yield PlanTable('catalogue', _count(keys | days, {}, texts))


def _determines_boundaries(
    split: np.ndarray, splits: list[str], config: DatasetConfig
) -> np.ndarray:
    """The rows from which boundaries come: of the training split, or of the first period."""
    if config.split.by == 'periods':
        return split == 0
    return split == splits.index('train') if 'train' in splits else np.zeros(len(split), bool)


def _count(
    keys: dict[str, np.ndarray],
    sums: dict[str, np.ndarray],
    texts: dict[str, pa.Array] | None = None,
    minima: dict[str, np.ndarray] | None = None,
) -> TableCounts:
    """Counts rows, and sums columns, by key.

    Args:
        keys: Key columns, `[rows]`.
        sums: Columns that are summed, `int64[rows]`.
        texts: The texts of key columns that are codes, by code.
        minima: Columns of which the minimum is kept, `int64[rows]`.
    """
    rows, minima = len(next(iter(keys.values()))), minima or {}
    table = pa.table({**keys, 'rows': np.ones(rows, np.int64), **sums, **minima})
    counts = TableCounts.merge([TableCounts(table, len(keys), tuple(minima))]).table
    for name, column in (texts or {}).items():
        place = counts.column_names.index(name)
        counts = counts.set_column(place, name, column.take(array(counts, name)))
    return TableCounts(counts, len(keys), tuple(minima))

"""What is counted in a sorted bucket, to be merged with what is counted in all others."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from beam_jobs.bucket import codes, numbers, values
from beam_jobs.config import DatasetConfig
from beam_jobs.past_counts import count_by_day
from beam_jobs.plan import Summary, item_columns
from beam_jobs.rows import column_of, days_of
from beam_jobs.splits import training_splits
from beam_jobs.summaries import FirstSeen, NumberCounts, TableCounts
from beam_jobs.vocabulary import count_values, count_values_by_state


def feature_summaries(table: pa.Table, splits: list[str],
                      config: DatasetConfig) -> Iterator[tuple[str, Summary]]:
    """What features are made of, in the training split alone.

    Where rows are split by periods, vocabularies grow from one to the next, and what numbers
    are cut by is known from the first.
    """
    split = numbers(table, 'split')
    in_training = _in_first_training(split, splits, config)
    if config.split.by == 'periods':
        trained = (split >= 0) & (split < len(training_splits(splits)))
        yield from growth_summaries(table, np.where(trained, split + 1, -1), config)
    else:
        yield 'vocabulary/domain', count_values(table, 'domain', in_training)
    for feature in config.features:
        if feature.kind == 'numeric':
            found = numbers(table, column_of(feature, config))[in_training]
            yield f'numbers/{feature.name}', NumberCounts.of(found[~np.isnan(found)])
        elif feature.from_row and config.split.by != 'periods':
            yield f'vocabulary/{feature.name}', count_values(
                table, column_of(feature, config), in_training)


def growth_summaries(table: pa.Table, state: np.ndarray,
                     config: DatasetConfig) -> Iterator[tuple[str, Summary]]:
    """What the vocabularies of a dataset grow by.

    Args:
        table: the rows of a sorted bucket.
        state: `[rows]`, 0 for rows of training splits that the dataset has already, which
            count only towards a `min_count`; 1 and up for those of its new ones, in their
            order; below for all other rows.
        config: the `dataset` section.
    """
    new = np.where(state > 0, state, -1)
    yield 'growth/domain', count_values_by_state(table, 'domain', new)
    for feature in config.features:
        if feature.kind in ('categorical', 'sequence'):
            yield f'growth/{feature.name}', count_values_by_state(
                table, column_of(feature, config), state if feature.min_count > 1 else new)


def bucket_summaries(bucket: int, table: pa.Table, duplicates: int, splits: list[str],
                     config: DatasetConfig) -> Iterator[tuple[str, Summary]]:
    """What is counted in a bucket, all of it."""
    split = numbers(table, 'split')
    yield 'duplicates', TableCounts(pa.table({'what': ['duplicates'], 'rows': [duplicates]}), 1)
    of_domain = codes(table, 'domain')
    day = days_of(numbers(table, 'timestamp'), config.utc_offset)
    click = numbers(table, 'click').astype(np.int64)
    yield 'days', _counted({'split': split, 'day': day}, {})
    yield 'domains', _counted({'bucket': np.full(len(split), bucket), 'split': split,
                               'domain': of_domain}, {'clicks': click},
                              {'domain': values(table, 'domain')})
    yield from count_by_day(table, _in_first_training(split, splits, config), config)
    if config.sampling.ctr_ratio is not None:
        yield 'catalogue', _counted({'domain': of_domain, 'item': codes(table, 'item')}, {},
                                    {'domain': values(table, 'domain'),
                                     'item': values(table, 'item')})
        columns = ['item', 'timestamp', 'user', 'domain', *item_columns(config)]
        yield 'items', FirstSeen.of(_decoded(table.select(columns)))


def _in_first_training(split: np.ndarray, splits: list[str],
                       config: DatasetConfig) -> np.ndarray:
    """The rows that numbers are cut by: of the training split, or of the first period."""
    if config.split.by == 'periods':
        return split == 0
    return split == splits.index('train') if 'train' in splits else np.zeros(len(split), bool)


def _counted(keys: dict[str, np.ndarray], sums: dict[str, np.ndarray],
             names: dict[str, pa.Array] | None = None) -> TableCounts:
    """Rows and sums by key; keys that are codes come out as their names."""
    rows = len(next(iter(keys.values())))
    table = pa.table({**keys, 'rows': np.ones(rows, np.int64), **sums})
    counts = TableCounts.merge([TableCounts(table, len(keys))]).table
    for name, texts in (names or {}).items():
        place = counts.column_names.index(name)
        counts = counts.set_column(place, name, texts.take(pa.concat_arrays(
            counts[name].chunks)))
    return TableCounts(counts, len(keys))


def _decoded(table: pa.Table) -> pa.Table:
    """Dictionary-encoded columns as plain ones, which merge more simply."""
    return pa.table({name: column.chunk(0).dictionary_decode()
                     if pa.types.is_dictionary(column.type) else column
                     for name, column in zip(table.column_names, table.columns, strict=True)})

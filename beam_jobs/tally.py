"""What is counted in a sorted bucket, to be merged with what is counted in all others."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from beam_jobs.bucket import codes, numbers, values
from beam_jobs.config import DatasetConfig
from beam_jobs.plan import Summary, item_columns
from beam_jobs.rows import DAY, column_of
from beam_jobs.summaries import FirstSeen, NumberCounts, TableCounts
from beam_jobs.vocabulary import count_values


def feature_summaries(table: pa.Table, splits: list[str],
                      config: DatasetConfig) -> Iterator[tuple[str, Summary]]:
    """What features are made of, in the training split alone."""
    in_training = np.isin(numbers(table, 'split'), _training(splits))
    yield 'vocabulary/domain', count_values(table, 'domain', in_training)
    for feature in config.features:
        if feature.kind == 'numeric':
            found = numbers(table, column_of(feature, config))[in_training]
            yield f'numbers/{feature.name}', NumberCounts.of(found[~np.isnan(found)])
        elif feature.kind != 'history':
            yield f'vocabulary/{feature.name}', count_values(
                table, column_of(feature, config), in_training)


def bucket_summaries(bucket: int, table: pa.Table, duplicates: int,
                     config: DatasetConfig) -> Iterator[tuple[str, Summary]]:
    """What is counted in a bucket, all of it."""
    split = numbers(table, 'split')
    yield 'duplicates', TableCounts(pa.table({'what': ['duplicates'], 'rows': [duplicates]}), 1)
    of_domain = codes(table, 'domain')
    day = (numbers(table, 'timestamp') // DAY).astype(np.int64)
    click = numbers(table, 'click').astype(np.int64)
    yield 'days', _counted({'split': split, 'day': day}, {})
    yield 'domains', _counted({'bucket': np.full(len(split), bucket), 'split': split,
                               'domain': of_domain}, {'clicks': click},
                              {'domain': values(table, 'domain')})
    if config.sampling.ctr_ratio is not None:
        yield 'catalogue', _counted({'domain': of_domain, 'item': codes(table, 'item')}, {},
                                    {'domain': values(table, 'domain'),
                                     'item': values(table, 'item')})
        columns = ['item', 'timestamp', 'user', 'domain', *item_columns(config)]
        yield 'items', FirstSeen.of(_decoded(table.select(columns)))


def _training(splits: list[str]) -> list[int]:
    """The numbers of the splits that vocabularies come from: `train`, or every period."""
    return [number for number, name in enumerate(splits)
            if name == 'train' or ('train' not in splits and name != 'test')]


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

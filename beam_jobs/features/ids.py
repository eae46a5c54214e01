"""Columns of ids: one id a row, or a list of ids a row."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa


class Lists(NamedTuple):
    """Lists of ids: those of row i are `values[offsets[i]:offsets[i + 1]]`.

    Attributes:
        offsets: `int64[rows + 1]`.
        values: `int64[offsets[-1]]`.
    """

    offsets: np.ndarray
    values: np.ndarray


_WIDE = ('timestamp', 'user_key')

Column = np.ndarray | Lists
Ids = dict[str, Column]


def concatenate(first: Mapping[str, Column], second: Mapping[str, Column]) -> Ids:
    """The ids of the rows of `first`, then of `second`."""
    return {name: _concatenate(column, second[name]) for name, column in first.items()}


def example_columns(ids: Mapping[str, Column]) -> pa.RecordBatch:
    """The ids as columns of an example file: int32 or `list<int32>`, but int64 for `_WIDE`."""
    columns = [
        pa.ListArray.from_arrays(
            pa.array(column.offsets.astype(np.int32)), pa.array(column.values.astype(np.int32))
        )
        if isinstance(column, Lists)
        else pa.array(column.astype(np.int64 if name in _WIDE else np.int32))
        for name, column in ids.items()
    ]
    return pa.RecordBatch.from_arrays(columns, names=list(ids))


def id_lists(examples: pa.Table) -> pa.RecordBatch:
    """Columns of an example file as `list<int64>`, as TFDV expects them."""
    columns = []
    for column in examples.combine_chunks().columns:
        column = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
        if pa.types.is_list(column.type):
            columns.append(column.cast(pa.list_(pa.int64())))
        else:
            offsets = pa.array(np.arange(len(column) + 1, dtype=np.int32))
            columns.append(pa.ListArray.from_arrays(offsets, column.cast(pa.int64())))
    return pa.RecordBatch.from_arrays(columns, names=examples.column_names)


def as_lists(column: Column) -> Lists:
    """The column as lists; a single id is a list of one."""
    return column if isinstance(column, Lists) else Lists(np.arange(len(column) + 1), column)


def _concatenate(first: Column, second: Column) -> Column:
    if isinstance(first, Lists) and isinstance(second, Lists):
        return Lists(
            np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
            np.concatenate([first.values, second.values]),
        )
    return np.concatenate([first, second])

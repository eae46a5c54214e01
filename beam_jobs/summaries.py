"""Summaries of rows that merge: the same result in whatever order and groups they are merged.

A worker summarizes a bucket at a time; Beam merges summaries, never rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class ValueCounts:
    """How often each text occurs; `values` are distinct and ascending."""

    values: pa.Array
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    @staticmethod
    def merge(summaries: Sequence['ValueCounts']) -> 'ValueCounts':
        values = pa.concat_arrays([summary.values for summary in summaries])
        codes, distinct = sorted_codes(values)
        counts = np.concatenate([summary.counts for summary in summaries])
        return ValueCounts(distinct, sum_by(codes, counts, len(distinct)))


@dataclass(frozen=True)
class NumberCounts:
    """How often each number occurs, exactly up to `LIMIT` distinct ones.

    Beyond that, numbers fall into cells: `shift` low bits of their order-preserving integer
    form are dropped, the fewest that leave at most `LIMIT` cells. Whether a shift suffices
    for a part says nothing against the whole needing more, so the result does not depend on
    how the parts were merged.
    """

    cells: np.ndarray
    counts: np.ndarray
    shift: int = 0

    LIMIT = 1 << 20

    def __len__(self) -> int:
        return len(self.counts)

    @staticmethod
    def of(numbers: np.ndarray, times: np.ndarray | None = None) -> 'NumberCounts':
        """Counts `numbers`, float64 without NaN, each once or so many `times` as is given."""
        if times is not None:
            return NumberCounts(*_regroup(_to_ordered(numbers), times))._bounded()
        cells, counts = np.unique(_to_ordered(numbers), return_counts=True)
        return NumberCounts(cells, counts)._bounded()

    @staticmethod
    def merge(summaries: Sequence['NumberCounts']) -> 'NumberCounts':
        shift = max(summary.shift for summary in summaries)
        cells = np.concatenate([s.cells >> (shift - s.shift) for s in summaries])
        counts = np.concatenate([summary.counts for summary in summaries])
        return NumberCounts(*_regroup(cells, counts), shift)._bounded()

    def numbers(self) -> np.ndarray:
        """The least number of each cell, ascending; `float64[len(self)]`."""
        return _from_ordered(self.cells << self.shift)

    def _bounded(self) -> 'NumberCounts':
        cells, counts, shift = self.cells, self.counts, self.shift
        while len(cells) > self.LIMIT:
            cells, counts = _regroup(cells >> 1, counts)
            shift += 1
        return NumberCounts(cells, counts, shift)


@dataclass(frozen=True)
class TableCounts:
    """Numbers that add up under keys: a table of key columns, then of `int64` columns.

    Attributes:
        table: the keys are distinct; the first `keys` columns hold them.
        keys: how many columns are keys.
    """

    table: pa.Table
    keys: int

    def __len__(self) -> int:
        return self.table.num_rows

    @staticmethod
    def merge(summaries: Sequence['TableCounts']) -> 'TableCounts':
        keys = summaries[0].keys
        table = pa.concat_tables([summary.table for summary in summaries])
        names = table.column_names
        grouped = table.group_by(names[:keys]).aggregate([(n, 'sum') for n in names[keys:]])
        grouped = grouped.select([*names[:keys], *(f'{n}_sum' for n in names[keys:])])
        grouped = grouped.rename_columns(names)
        order = pc.sort_indices(grouped, [(name, 'ascending') for name in names[:keys]])
        return TableCounts(grouped.take(order), keys)


@dataclass(frozen=True)
class FirstSeen:
    """What each item was when it was first seen.

    Attributes:
        table: `item` (distinct), then `timestamp`, `user` and `domain` of its first row,
            which order rows of one item totally, then the item's features.
    """

    table: pa.Table

    def __len__(self) -> int:
        return self.table.num_rows

    @staticmethod
    def of(table: pa.Table) -> 'FirstSeen':
        """The first row of each item of `table`, whose columns are those of the result."""
        item, user, domain = (sorted_codes(_flat(table.column(name)))[0]
                              for name in ('item', 'user', 'domain'))
        order = np.lexsort((domain, user, table.column('timestamp').to_numpy(), item))
        first = np.ones(len(order), bool)
        first[1:] = item[order[1:]] != item[order[:-1]]
        return FirstSeen(table.take(pa.array(order[first])))

    @staticmethod
    def merge(summaries: Sequence['FirstSeen']) -> 'FirstSeen':
        return FirstSeen.of(pa.concat_tables([summary.table for summary in summaries])
                            .combine_chunks())


def sorted_codes(values: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Codes `int32` of `values` into their distinct values, ascending by bytes."""
    coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    order = pc.sort_indices(coded.dictionary)
    rank = np.empty(len(order), np.int32)
    rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    return rank[coded.indices.to_numpy(zero_copy_only=False)], coded.dictionary.take(order)


def sum_by(codes: np.ndarray, counts: np.ndarray, size: int) -> np.ndarray:
    """Integer sums of `counts` by code; `int64[size]`."""
    totals = np.zeros(size, np.int64)
    np.add.at(totals, codes, counts)
    return totals


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(
        [pa.array([], column.type)] if not column.num_chunks else column.chunks)


def _regroup(cells: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct, place = np.unique(cells, return_inverse=True)
    return distinct, sum_by(place, counts, len(distinct))


def _to_ordered(numbers: np.ndarray) -> np.ndarray:
    """Integers in the order of the numbers; neighbours differ in their low bits."""
    bits = (np.asarray(numbers, np.float64) + 0.0).view(np.int64)  # + 0.0 turns -0.0 to 0.0
    return np.where(bits < 0, bits ^ np.int64(0x7FFFFFFFFFFFFFFF), bits)


def _from_ordered(ordered: np.ndarray) -> np.ndarray:
    return np.where(ordered < 0, ordered ^ np.int64(0x7FFFFFFFFFFFFFFF),
                    ordered).astype(np.int64).view(np.float64)

"""Summaries of rows that merge to the same result in any order and grouping.

A worker summarizes a bucket at a time; Beam merges summaries, not rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class ValueCounts:
    """How often each text occurs.

    Attributes:
        values: Distinct texts, ascending by bytes.
        counts: Occurrences of each, `int64[len(values)]`.
    """

    values: pa.Array
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    @staticmethod
    def merge(summaries: Sequence['ValueCounts']) -> 'ValueCounts':
        """Adds up the counts."""
        values = pa.concat_arrays([summary.values for summary in summaries])
        codes, distinct = sorted_codes(values)
        counts = np.concatenate([summary.counts for summary in summaries])
        return ValueCounts(distinct, sum_by(codes, counts, len(distinct)))


@dataclass(frozen=True)
class NumberCounts:
    """How often each number occurs, exactly up to `LIMIT` distinct numbers.

    Beyond that, numbers fall into cells: the `shift` lowest bits of their order-preserving
    integer form are dropped, the fewest that leave at most `LIMIT` cells. A part never needs
    a larger shift than the whole, so the result does not depend on how parts are merged.

    Attributes:
        cells: Distinct cells, ascending, `int64[cells]`.
        counts: Numbers in each cell, `int64[cells]`.
        shift: Bits dropped.
    """

    cells: np.ndarray
    counts: np.ndarray
    shift: int = 0

    LIMIT: ClassVar[int] = 1 << 20

    def __len__(self) -> int:
        return len(self.counts)

    @staticmethod
    def of(numbers: np.ndarray, times: np.ndarray | None = None) -> 'NumberCounts':
        """Counts numbers.

        Args:
            numbers: Numbers without NaN, `float64[n]`.
            times: How often each occurs, `int64[n]`; once if absent.
        """
        if times is not None:
            return NumberCounts(*_regroup(_to_ordered(numbers), times))._bounded()
        cells, counts = np.unique(_to_ordered(numbers), return_counts=True)
        return NumberCounts(cells, counts)._bounded()

    @staticmethod
    def merge(summaries: Sequence['NumberCounts']) -> 'NumberCounts':
        """Adds up the counts."""
        shift = max(summary.shift for summary in summaries)
        cells = np.concatenate([s.cells >> (shift - s.shift) for s in summaries])
        counts = np.concatenate([summary.counts for summary in summaries])
        return NumberCounts(*_regroup(cells, counts), shift)._bounded()

    def numbers(self) -> np.ndarray:
        """The smallest number of each cell, ascending; `float64[len(self)]`."""
        return _from_ordered(self.cells << self.shift)

    def _bounded(self) -> 'NumberCounts':
        cells, counts, shift = self.cells, self.counts, self.shift
        while len(cells) > self.LIMIT:
            cells, counts = _regroup(cells >> 1, counts)
            shift += 1
        return NumberCounts(cells, counts, shift)


@dataclass(frozen=True)
class TableCounts:
    """Integers that are summed by key.

    Attributes:
        table: Key columns, then columns of `int64`; each key occurs once.
        keys: Number of key columns, which come first.
        minima: Columns whose minimum is kept rather than their sum.
    """

    table: pa.Table
    keys: int
    minima: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.table.num_rows

    @staticmethod
    def merge(summaries: Sequence['TableCounts']) -> 'TableCounts':
        """Sums by key; the result is sorted by the keys."""
        keys, minima = summaries[0].keys, summaries[0].minima
        table = pa.concat_tables([summary.table for summary in summaries])
        names = table.column_names
        functions = [(name, 'min' if name in minima else 'sum') for name in names[keys:]]
        grouped = table.group_by(names[:keys]).aggregate(functions)
        grouped = grouped.select(
            [*names[:keys], *(f'{name}_{function}' for name, function in functions)]
        )
        grouped = grouped.rename_columns(names)
        order = pc.sort_indices(grouped, [(name, 'ascending') for name in names[:keys]])
        return TableCounts(grouped.take(order), keys, minima)


def sorted_codes(values: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Codes `int32[len(values)]` into the distinct values, which ascend by bytes."""
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


def _regroup(cells: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct, place = np.unique(cells, return_inverse=True)
    return distinct, sum_by(place, counts, len(distinct))


def _to_ordered(numbers: np.ndarray) -> np.ndarray:
    """Integers in the order of the numbers; neighbours differ in their low bits."""
    bits = (np.asarray(numbers, np.float64) + 0.0).view(np.int64)  # + 0.0 turns -0.0 to 0.0
    return np.where(bits < 0, bits ^ np.int64(0x7FFFFFFFFFFFFFFF), bits)


def _from_ordered(ordered: np.ndarray) -> np.ndarray:
    return (
        np.where(ordered < 0, ordered ^ np.int64(0x7FFFFFFFFFFFFFFF), ordered)
        .astype(np.int64)
        .view(np.float64)
    )

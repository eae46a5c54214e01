"""Decoded rows: arrays of ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mdctr.manifest import Feature


@dataclass(slots=True)
class Columns:
    """Decoded rows.

    Attributes:
        singles: One id a feature, int32 [rows, features]. A row is contiguous, since batches
            are random rows.
        sequences: Ids by feature name, int32 [rows, length], padded with -1.
        click: int8 [rows].
        user_key: int64 [rows].
    """

    singles: np.ndarray
    sequences: dict[str, np.ndarray]
    click: np.ndarray
    user_key: np.ndarray

    def __len__(self) -> int:
        return len(self.click)

    def take(self, rows: np.ndarray | slice) -> Columns:
        """Returns some rows, in their order; a view if `rows` is a slice."""
        return Columns(
            _take(self.singles, rows),
            {name: _take(ids, rows) for name, ids in self.sequences.items()},
            _take(self.click, rows),
            _take(self.user_key, rows),
        )

    def put(self, rows: np.ndarray, columns: Columns) -> None:
        """Overwrites some rows."""
        self.singles[rows], self.click[rows] = columns.singles, columns.click
        self.user_key[rows] = columns.user_key
        for name, ids in self.sequences.items():
            ids[rows] = columns.sequences[name]

    @staticmethod
    def empty(rows: int, features: Sequence[Feature]) -> Columns:
        """Returns columns with undefined contents."""
        singles = sum(feature.kind != 'sequence' for feature in features)
        return Columns(
            np.empty((rows, singles), np.int32),
            {
                feature.name: np.empty((rows, feature.length), np.int32)
                for feature in features
                if feature.kind == 'sequence'
            },
            np.empty(rows, np.int8),
            np.empty(rows, np.int64),
        )

    @staticmethod
    def concatenate(parts: Sequence[Columns]) -> Columns:
        """Concatenates rows."""
        return Columns(
            np.concatenate([part.singles for part in parts]),
            {
                name: np.concatenate([part.sequences[name] for part in parts])
                for name in parts[0].sequences
            },
            np.concatenate([part.click for part in parts]),
            np.concatenate([part.user_key for part in parts]),
        )


def bytes_per_row(features: Sequence[Feature]) -> int:
    """Returns the size of a decoded row in memory."""
    return 4 * sum(feature.length for feature in features) + 9


def column_names(features: Sequence[Feature]) -> list[str]:
    """Returns the columns of the example files that `decode` needs."""
    return [*(feature.name for feature in features), 'click', 'user_key']


def decode(rows: pa.Table, features: Sequence[Feature], into: Columns) -> None:
    """Decodes rows of an example file.

    Args:
        rows: Rows with the columns of `column_names`.
        features: Features to decode.
        into: Columns of as many rows, which are overwritten.
    """
    single = 0
    for feature in features:
        column = rows.column(feature.name)
        if feature.kind == 'sequence':
            _decode_lists(column, into.sequences[feature.name])
        else:
            into.singles[:, single] = _numbers(column)
            single += 1
    into.click[:], into.user_key[:] = _numbers(rows['click']), _numbers(rows['user_key'])


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    if column.num_chunks == 1:
        return column.chunk(0).to_numpy()
    return column.to_numpy()


def _decode_lists(column: pa.ChunkedArray, padded: np.ndarray) -> None:
    first, length = 0, padded.shape[1]
    place = np.arange(length)
    for chunk in column.chunks:
        offsets = chunk.offsets.to_numpy()
        values = chunk.values.to_numpy()
        sizes = np.diff(offsets)
        kept = place < sizes[:, None]
        part = padded[first : first + len(chunk)]
        part.fill(-1)
        if len(sizes) and sizes.max() > length:
            part[kept] = values[(offsets[:-1, None] + place)[kept]]
        else:
            part[kept] = values[offsets[0] : offsets[-1]]
        first += len(chunk)


def _take(array: np.ndarray, rows: np.ndarray | slice) -> np.ndarray:
    # For an index array, `np.take` is several times as fast as brackets.
    return array[rows] if isinstance(rows, slice) else array.take(rows, axis=0)

"""Splitting of rows into batches, and the random orders of rows and batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Batch = dict[str, Any]


class MatrixBatch(dict[str, Any]):
    """A batch whose single ids are also the rows of one matrix.

    Without arguments, an empty batch: TensorFlow copies dictionaries by adding their items to
    an empty one of the same type.

    Attributes:
        names: Names of the single ids.
        matrix: The ids, int32 [names, batch].
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        matrix: np.ndarray | None = None,
        others: Batch | None = None,
    ):
        self.names = names
        self.matrix = np.zeros((0, 0), np.int32) if matrix is None else matrix
        super().__init__(zip(self.names, self.matrix, strict=True), **(others or {}))


BatchKind = Literal['domain', 'mixed']

_ROWS, BATCHES, RANGES, MIXED = range(4)  # what is shuffled, a part of the generator's key


def num_batches(rows: int, size: int) -> int:
    """Returns the number of batches of at most `size` rows."""
    return -(-rows // size)


def batch_boundaries(rows: int, size: int) -> list[int]:
    """Returns the boundaries of batches of nearly equal size, of at most `size` rows.

    The sizes are equal because a last batch of a few rows would move the model as far as a full
    one. Batch i has the rows from boundary i to boundary i + 1.
    """
    return even_boundaries(rows, num_batches(rows, size))


def even_boundaries(rows: int, parts: int) -> list[int]:
    """Returns the boundaries of `parts` parts of nearly equal size."""
    return [rows * part // max(parts, 1) for part in range(parts + 1)]


def row_permutation(rows: int, seed: int, epoch: int, domain: int, *key: int) -> np.ndarray:
    """Returns the random order of a domain's rows in an epoch, int64 [rows].

    Args:
        rows: Number of rows.
        seed: Random seed of the run.
        epoch: Number of the epoch.
        domain: Id of the domain.
        key: Numbers that identify a part of the domain that is shuffled separately.
    """
    return shuffle_generator(seed, epoch, _ROWS, domain, *key).permutation(rows)


def shuffle_generator(*key: int) -> np.random.Generator:
    """Returns a random generator that depends only on the key."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))

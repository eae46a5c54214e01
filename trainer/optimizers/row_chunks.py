"""Sparse updates of many wide rows, such as weights per domain, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.keras import tf

LARGE_VARIABLE = 8 << 20  # values, from which an update of most rows exceeds the caches
CHUNK_VALUES = 1 << 18


def update_in_chunks(
    update: Callable[[tf.IndexedSlices], Any], gradient: tf.IndexedSlices
) -> None:
    """Calls `update` for a few rows of a gradient at a time.

    The copies of a chunk's rows and slots stay in the cache. Copies of all rows at once would
    be as large as the variable, in memory that is allocated and cleared at every step.

    Args:
        update: Updates a variable by a gradient of some rows.
        gradient: Gradient with unique row indices.
    """
    values, indices = gradient.values, gradient.indices
    size = max(1, CHUNK_VALUES // values.shape[1:].num_elements())
    number = tf.size(indices)

    def body(first: tf.Tensor) -> tuple[tf.Tensor]:
        rows = slice(first, first + size)
        update(tf.IndexedSlices(values[rows], indices[rows], gradient.dense_shape))
        return (first + size,)

    tf.while_loop(lambda first: first < number, body, (0,), parallel_iterations=1)

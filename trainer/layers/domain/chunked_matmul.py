"""Products of many groups of rows with a matrix for each group, a few groups at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.keras import tf

CHUNK_BYTES = 2 << 20  # of matrices; they, their products and gradients stay in the cache
CHUNK_GROUPS = 16  # more would be padded to the largest group of the chunk


def chunked_matmul(
    rows: tf.Tensor, weights: tf.Tensor, counts: tf.Tensor, factor: tf.Tensor | None = None
) -> tf.Tensor:
    """Multiplies each group of rows by the group's own matrix, weights (x) factor.

    The groups are processed in chunks, each by one batched product, padded to the chunk's
    largest group; so they should be ordered by size. With hundreds of groups, reading and
    writing the matrices takes most of the time. In chunks, their products with `factor` and
    its gradients never leave the cache, and a gradient is written to memory once.

    Example:

    >>> rows = tf.constant([[1.0], [2.0], [3.0]])
    >>> weights = tf.constant([[[10.0, 1.0]], [[100.0, 1.0]]])
    >>> chunked_matmul(rows, weights, tf.constant([2, 1])).numpy().tolist()
    [[10.0, 1.0], [20.0, 2.0], [300.0, 3.0]]

    Args:
        rows: Rows sorted by group, [batch, inputs].
        weights: Matrix of each group, [groups, inputs, units].
        counts: Number of rows of each group, int32 [groups].
        factor: Matrix by whose entries those of every group are multiplied, [inputs, units];
            ones if absent.

    Returns:
        [batch, units].
    """
    inputs, units = weights.shape[1:]
    size = max(1, min(CHUNK_GROUPS, CHUNK_BYTES // (4 * inputs * units)))
    chunks = _Chunks(counts, size)

    @tf.custom_gradient
    def product(
        rows: tf.Tensor, weights: tf.Tensor, *factor: tf.Tensor
    ) -> tuple[tf.Tensor, Any]:
        def forward(chunk: tf.Tensor, outputs: tf.TensorArray) -> tuple[Any, ...]:
            (padded,), mask = chunks.padded(chunk, [rows])
            kernels = _times(chunks.slice(chunk, weights), factor)
            found = tf.boolean_mask(tf.matmul(padded, kernels), mask)
            return chunk + 1, outputs.write(chunk, found)

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            upstream = tf.convert_to_tensor(upstream)  # that of a gather is sparse

            def backward(
                chunk: tf.Tensor,
                of_rows: tf.TensorArray,
                of_weights: tf.TensorArray,
                *of_factor: tf.Tensor,
            ) -> tuple[Any, ...]:
                (slopes, padded), mask = chunks.padded(chunk, [upstream, rows])
                own = chunks.slice(chunk, weights)
                of_own = tf.matmul(padded, slopes, transpose_a=True)
                found = tf.matmul(slopes, _times(own, factor), transpose_b=True)
                return (
                    chunk + 1,
                    of_rows.write(chunk, tf.boolean_mask(found, mask)),
                    of_weights.write(chunk, _times(of_own, factor)),
                    *(each + tf.reduce_sum(of_own * own, axis=0) for each in of_factor),
                )

            of_rows, of_weights, *of_factor = chunks.loop(
                backward,
                [
                    chunks.array(rows.dtype, [None, inputs]),
                    chunks.array(rows.dtype, [None, inputs, units]),
                    *map(tf.zeros_like, factor),
                ],
            )
            return [of_rows.concat(), of_weights.concat(), *of_factor]

        (outputs,) = chunks.loop(forward, [chunks.array(rows.dtype, [None, units])])
        return tf.ensure_shape(outputs.concat(), [None, units]), gradient

    return product(rows, weights, *([] if factor is None else [factor]))


def _times(kernels: tf.Tensor, factor: Sequence[tf.Tensor]) -> tf.Tensor:
    return kernels * factor[0] if factor else kernels


class _Chunks:
    """Chunks of groups of rows.

    Args:
        counts: Number of rows of each group, int32 [groups].
        size: Number of groups of a chunk; the last one may have fewer.
    """

    def __init__(self, counts: tf.Tensor, size: int):
        self._counts, self._size = counts, size
        self._starts = tf.cumsum(counts, exclusive=True)
        self._number = -(-tf.size(counts) // size)

    def slice(self, chunk: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        """Values of a chunk's groups, [groups, ...] -> [groups of the chunk, ...]."""
        return values[chunk * self._size : (chunk + 1) * self._size]

    def padded(
        self, chunk: tf.Tensor, tensors: Sequence[tf.Tensor]
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Rows of a chunk's groups, [batch, units] -> [groups of the chunk, largest, units],
        with zeros after those of a group, and a mask that tells rows from zeros."""
        counts = self.slice(chunk, self._counts)
        places = tf.range(tf.reduce_max(counts))
        mask = places < counts[:, None]
        starts = self.slice(chunk, self._starts)[:, None]
        rows = tf.where(mask, starts + places, 0)
        gathered = [tf.gather(tensor, rows) for tensor in tensors]
        zero = [tf.where(mask[:, :, None], each, tf.zeros_like(each)) for each in gathered]
        return zero, mask

    def array(self, dtype: tf.DType, shape: list[int | None]) -> tf.TensorArray:
        """An array with a tensor of this shape for each chunk."""
        return tf.TensorArray(dtype, self._number, infer_shape=False, element_shape=shape)

    def loop(self, body: Any, values: Sequence[Any]) -> list[Any]:
        """Runs `body(chunk, *values)` for every chunk; returns the last values."""
        _, *last = tf.while_loop(
            lambda chunk, *_: chunk < self._number, body, (0, *values), parallel_iterations=2
        )
        return last

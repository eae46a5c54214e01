"""The rows-by-domain matrix of a mixed batch."""

from __future__ import annotations

from trainer.keras import tf
from trainer.layers.sparse.paths import uses_sparse


class DomainIndicator:
    """Sparse matrix whose entry (i, p) is one if row i belongs to domain p.

    Sums by domain and values of each row's domain are products with it:

        sums = M^T X        rows = M V

    The dense paths, `tf.math.segment_sum` and `tf.gather`, give the same results;
    `trainer.layers.sparse.paths` chooses.

    Example:

    >>> indicator = DomainIndicator(tf.constant([0, 1, 1]), tf.constant(2))
    >>> tf.sparse.to_dense(indicator.matrix).numpy().tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    >>> indicator.sum(tf.constant([[1.0], [2.0], [3.0]])).numpy().tolist()
    [[1.0], [5.0]]
    >>> indicator.broadcast(tf.constant([10.0, 20.0])).numpy().tolist()
    [10.0, 20.0, 20.0]

    Args:
        segments: Index of each row's domain among the present domains, ascending, int32
            [batch].
        present: Number of present domains, a scalar.

    Attributes:
        matrix: The matrix, a float32 `tf.SparseTensor` [batch, present].
    """

    def __init__(self, segments: tf.Tensor, present: tf.Tensor):
        self._segments, self._present = segments, present
        rows = tf.range(tf.size(segments, tf.int64))
        self.matrix = tf.SparseTensor(
            tf.stack([rows, tf.cast(segments, tf.int64)], axis=1),
            tf.ones_like(segments, tf.float32),
            tf.stack([tf.size(segments, tf.int64), tf.cast(present, tf.int64)]),
        )

    def sum(self, values: tf.Tensor) -> tf.Tensor:
        """Sums each domain's rows, [batch, units] -> [present, units]."""
        if uses_sparse('sum'):
            return tf.sparse.sparse_dense_matmul(
                self._matrix_of(values.dtype), values, adjoint_a=True
            )
        sums = tf.math.segment_sum(values, self._segments)
        missing = self._present - tf.shape(sums)[0]  # in a batch without rows
        return tf.pad(sums, [[0, missing], [0, 0]])

    def broadcast(self, values: tf.Tensor) -> tf.Tensor:
        """Gives each row its domain's value, [present, ...] -> [batch, ...]."""
        if not (values.dtype.is_floating and uses_sparse('broadcast')):
            return tf.gather(values, self._segments)
        if values.shape.rank == 2:
            return tf.sparse.sparse_dense_matmul(self._matrix_of(values.dtype), values)
        shape = tf.shape(values)[1:]
        flat = tf.reshape(values, [tf.shape(values)[0], tf.reduce_prod(shape)])
        rows = tf.sparse.sparse_dense_matmul(self._matrix_of(values.dtype), flat)
        rows = tf.reshape(rows, tf.concat([tf.shape(rows)[:1], shape], axis=0))
        return tf.ensure_shape(rows, [None, *values.shape[1:]])

    def _matrix_of(self, dtype: tf.DType) -> tf.SparseTensor:
        return self.matrix if dtype == self.matrix.dtype else tf.cast(self.matrix, dtype)

"""Product of rows with many zeros and a matrix."""

from __future__ import annotations

from trainer.keras import tf
from trainer.layers.sparse.paths import uses_sparse


def pruned_product(rows: tf.Tensor, kernel: tf.Tensor, sparsity: float = 0.0) -> tf.Tensor:
    """Multiplies rows by a matrix, without their zeros where that is faster.

    The sparse path is `tf.sparse.sparse_dense_matmul`, the dense one `tf.matmul`;
    `trainer.layers.sparse.paths` chooses.

    >>> rows = tf.constant([[0.0, 2.0], [0.0, 0.0]])
    >>> pruned_product(rows, tf.constant([[1.0], [3.0]]), sparsity=0.99).numpy().tolist()
    [[6.0], [0.0]]

    Args:
        rows: Rows, [batch, inputs].
        kernel: Matrix, [inputs, units].
        sparsity: Share of zeros in `rows`, or a lower bound of it.

    Returns:
        [batch, units].
    """
    if uses_sparse('pruned_product', sparsity=sparsity):
        return tf.sparse.sparse_dense_matmul(tf.sparse.from_dense(rows), kernel)
    return tf.matmul(rows, kernel)

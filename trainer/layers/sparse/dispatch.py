"""Product of each row of a mixed batch with its domain's matrix, without sorting the rows."""

from __future__ import annotations

from typing import Any

from trainer.keras import tf


def dispatch(rows: tf.Tensor, weights: tf.Tensor, segments: tf.Tensor) -> tf.Tensor:
    """Multiplies each row x_b by the matrix W_s(b) of its domain s(b).

    The rows become a block matrix, a `tf.SparseTensor` X [batch, domains * inputs] with x_b in
    the columns of domain s(b), s(b) inputs to (s(b) + 1) inputs - 1, so that one
    `tf.sparse.sparse_dense_matmul` computes all products:

        Y = X reshape(W, [domains * inputs, units])

    The gradients are two more such products, with the block matrices of dY and of X.
    TensorFlow's own gradient would first gather a row of W for every entry of the rows,
    [batch * inputs, units].

    The dense path is `grouped_matmul`, of rows sorted by domain.

    Example:

    >>> rows = tf.constant([[1.0], [2.0], [3.0]])
    >>> weights = tf.constant([[[10.0, 1.0]], [[100.0, 1.0]]])
    >>> dispatch(rows, weights, tf.constant([1, 0, 1])).numpy().tolist()
    [[100.0, 1.0], [20.0, 2.0], [300.0, 3.0]]

    Args:
        rows: Rows in any order, [batch, inputs].
        weights: Matrix of each domain, [domains, inputs, units].
        segments: Index of each row's domain, int32 [batch].

    Returns:
        [batch, units].
    """

    @tf.custom_gradient
    def product(rows: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, Any]:
        block = block_matrix(rows, segments, tf.shape(weights)[0])

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            upstream = tf.convert_to_tensor(upstream)  # that of a gather is sparse
            of_weights = tf.sparse.sparse_dense_matmul(block, upstream, adjoint_a=True)
            return (
                dispatch(upstream, tf.transpose(weights, [0, 2, 1]), segments),
                tf.reshape(of_weights, tf.shape(weights)),
            )

        stacked = tf.reshape(weights, [-1, weights.shape[2]])
        return tf.sparse.sparse_dense_matmul(block, stacked), gradient

    return product(rows, weights)


def block_matrix(rows: tf.Tensor, segments: tf.Tensor, domains: tf.Tensor) -> tf.SparseTensor:
    """Places each row in the columns of its domain.

    >>> block = block_matrix(tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([1, 0]), 2)
    >>> tf.sparse.to_dense(block).numpy().tolist()
    [[0.0, 0.0, 1.0, 2.0], [3.0, 4.0, 0.0, 0.0]]

    Args:
        rows: Rows, [batch, inputs].
        segments: Index of each row's domain, int32 [batch].
        domains: Number of domains, a scalar.

    Returns:
        [batch, domains * inputs].
    """
    inputs = tf.shape(rows, tf.int64)[1]
    columns = tf.cast(segments, tf.int64)[:, None] * inputs + tf.range(inputs)
    batch = tf.shape(rows, tf.int64)[0]
    places = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(columns))
    return tf.SparseTensor(
        tf.stack([tf.reshape(places, [-1]), tf.reshape(columns, [-1])], axis=1),
        tf.reshape(rows, [-1]),
        tf.stack([batch, tf.cast(domains, tf.int64) * inputs]),
    )

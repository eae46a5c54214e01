"""Mean embedding of a feature with several values."""

from __future__ import annotations

from trainer.keras import tf
from trainer.layers.sparse.paths import uses_sparse


def to_sparse(values: tf.Tensor, mask: tf.Tensor) -> tf.SparseTensor:
    """Converts padded values to a `tf.SparseTensor` without the padding.

    >>> values = tf.constant([[3, 4], [5, 0]])
    >>> to_sparse(values, tf.constant([[True, True], [True, False]])).values.numpy().tolist()
    [3, 4, 5]

    Args:
        values: Values, [batch, length].
        mask: Whether there is a value, bool [batch, length].
    """
    places = tf.where(mask)
    return tf.SparseTensor(
        places, tf.gather_nd(values, places), tf.shape(values, out_type=tf.int64)
    )


def mean_embedding(
    table: tf.Variable | tf.Tensor,
    rows: tf.Tensor,
    mask: tf.Tensor,
    padding: int,
    vectors: tf.Tensor,
    training: bool = False,
) -> tf.Tensor:
    """Mean of the embeddings of each row's values; zero if it has none.

    The sparse path is `tf.nn.safe_embedding_lookup_sparse`; the dense one a mean over
    `vectors`. `trainer.layers.sparse.paths` chooses.

    Example:

    >>> table = tf.constant([[1.0], [3.0], [0.0]])
    >>> rows, mask = tf.constant([[0, 1], [2, 2]]), tf.constant([[True, True], [False, False]])
    >>> mean_embedding(table, rows, mask, 2, tf.gather(table, rows)).numpy().tolist()
    [[2.0], [0.0]]

    Args:
        table: Embeddings, [rows, dim]. What stands in for a variable is not read: the mean is
            over `vectors`.
        rows: Row of the table of each value, int [batch, length].
        mask: Whether there is a value, bool [batch, length].
        padding: Row of the table, of zeros, that stands for no value. It alone has a gradient,
            of zero, for a row without values.
        vectors: Embeddings of `rows`, [batch, length, dim].
        training: Whether gradients are computed.

    Returns:
        [batch, dim].
    """
    # What stands in for a variable, such as a cache of rows, can only gather: a lookup of
    # TensorFlow's would convert it to a tensor of the whole table.
    is_table = isinstance(table, tf.Variable) or tf.is_tensor(table)
    if is_table and uses_sparse('pooling', training=training):
        mean = tf.nn.safe_embedding_lookup_sparse(
            table, to_sparse(rows, mask), combiner='mean', default_id=padding
        )
        # Without a default, rows without values would give a gradient of zero to row 0, whose
        # momentum would then move it; with one, they would give theirs to the padding.
        mean = tf.where(tf.reduce_any(mask, axis=1, keepdims=True), mean, tf.zeros_like(mean))
        return tf.ensure_shape(mean, [None, vectors.shape[-1]])
    return mean_of_vectors(vectors, mask)


def mean_of_vectors(vectors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean of the vectors [batch, length, dim] where `mask` [batch, length] is true, or zero.

    >>> vectors = tf.constant([[[1.0], [3.0], [7.0]]])
    >>> mean_of_vectors(vectors, tf.constant([[True, True, False]])).numpy().tolist()
    [[2.0]]
    """
    weights = tf.cast(mask, vectors.dtype)[:, :, None]
    return tf.math.divide_no_nan(
        tf.reduce_sum(vectors * weights, axis=1), tf.reduce_sum(weights, axis=1)
    )

"""Bi-interaction pooling, and the factorization machine as its sum."""

from __future__ import annotations

from trainer.keras import tf


def bi_interaction(fields: tf.Tensor) -> tf.Tensor:
    """Sum of the elementwise products of all pairs of fields.

    NFM (He and Chua 2017), equations 3 and 4, in time linear in the number of fields:

        f(v) = sum_i sum_{j > i} v_i (x) v_j = ((sum_i v_i)^2 - sum_i v_i^2) / 2

    Example:

    >>> bi_interaction(tf.constant([[[1.0, 2.0], [3.0, 4.0]]])).numpy().tolist()
    [[3.0, 8.0]]

    Args:
        fields: Embeddings, [batch, fields, dim].

    Returns:
        [batch, dim].
    """
    square_of_sum = tf.square(tf.reduce_sum(fields, axis=1))
    return (square_of_sum - tf.reduce_sum(tf.square(fields), axis=1)) / 2


def factorization_machine(fields: tf.Tensor) -> tf.Tensor:
    """Second-order part of a factorization machine (DeepFM, Guo et al. 2017, equation 2).

    Sum of the inner products of all pairs of fields.

    Example:

    >>> factorization_machine(tf.constant([[[1.0, 2.0], [3.0, 4.0]]])).numpy().tolist()
    [11.0]

    Args:
        fields: Embeddings, [batch, fields, dim].

    Returns:
        [batch].
    """
    return tf.reduce_sum(bi_interaction(fields), axis=1)

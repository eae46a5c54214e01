"""Sparse gradients: gradients of some rows of a variable."""

from __future__ import annotations

from trainer.keras import tf

WIDE_ROW = 1024  # values per row from which an additional pass over the rows is avoided


class UniqueRows(tf.IndexedSlices):
    """A sparse gradient with unique row indices, which need not be deduplicated."""


def deduplicate_rows(gradient: tf.IndexedSlices) -> UniqueRows:
    """Returns the same gradient with unique row indices; values of equal indices are summed.

    Args:
        gradient: Sparse gradient.
    """
    if isinstance(gradient, UniqueRows):
        return gradient
    if gradient.indices.shape[0] == 1:
        return UniqueRows(gradient.values, gradient.indices, gradient.dense_shape)
    rows, positions = tf.unique(gradient.indices)
    values = tf.convert_to_tensor(gradient.values)

    def summed() -> tf.Tensor:
        return tf.math.unsorted_segment_sum(values, positions, tf.size(rows))

    if values.shape[1:].num_elements() < WIDE_ROW:
        return UniqueRows(summed(), rows, gradient.dense_shape)
    # A batch usually has the weights of each domain once, and summing them is expensive.
    return UniqueRows(
        tf.cond(tf.size(rows) < tf.size(gradient.indices), summed, lambda: values),
        rows,
        gradient.dense_shape,
    )

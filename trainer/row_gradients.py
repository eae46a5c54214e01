"""Gradients of some rows of a variable."""

from __future__ import annotations

from trainer.keras import tf

WIDE_ROW = 1024  # values of a row, from which going over the rows again is avoided


class RowsOnce(tf.IndexedSlices):
    """A gradient of rows of which each is there once, so that nobody needs to look again."""


class SomeRowsOf(RowsOnce):
    """The same, where there is a gradient of the whole variable, 0 elsewhere.

    Who moves most of the variable may take that; who moves rows gets a copy of theirs when it
    asks for `values`.

    Args:
        whole: of the variable's shape.
        indices: of the rows that have a gradient.
    """

    def __init__(self, whole: tf.Tensor, indices: tf.Tensor):
        super().__init__(whole, indices, tf.shape(whole))
        self.whole = whole

    @property
    def values(self) -> tf.Tensor:
        return tf.gather(self.whole, self.indices)


def sum_rows(gradient: tf.IndexedSlices) -> RowsOnce:
    """The same gradient with every row once."""
    if isinstance(gradient, RowsOnce):
        return gradient
    if gradient.indices.shape[0] == 1:
        return RowsOnce(gradient.values, gradient.indices, gradient.dense_shape)
    rows, places = tf.unique(gradient.indices)

    each = tf.convert_to_tensor(gradient.values)

    def summed():
        return tf.math.unsorted_segment_sum(each, places, tf.size(rows))
    if each.shape[1:].num_elements() < WIDE_ROW:
        values = summed()
    else:  # a domain's weights: one row a domain already, and costly to go over again
        values = tf.cond(tf.size(rows) < tf.size(gradient.indices), summed,
                         lambda: each)
    return RowsOnce(values, rows, gradient.dense_shape)

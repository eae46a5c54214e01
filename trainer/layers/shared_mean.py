"""What an unseen domain is scored with where every domain has a network of its own."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.domain_rows import DomainRows


class SharedMeanLayer(DomainLayer):
    """A layer of which no weights are shared: its shared model is the mean of the domains.

    Row 0, for unseen domains, has nothing to learn from. In inference it is the mean of the
    other rows, and this is what a domain added later starts from. A mean of networks is a
    network that makes sense only where they have grown out of one: `same_in_every_row` starts
    all rows at the same values.
    """

    def take(self, rows: DomainRows, variable: tf.Variable, training: bool) -> tf.Tensor:
        """The present domains' rows of a variable, the mean row in place of row 0."""
        values = rows.take(variable)
        if training or self.num_domains == 1:
            return values
        unseen = tf.equal(rows.present, 0)

        def with_mean():
            of_row = tf.reshape(unseen, [-1] + [1] * (values.shape.rank - 1))
            return tf.where(of_row, self.shared_row(variable), values)
        return tf.cond(tf.reduce_any(unseen), with_mean, lambda: values)

    def shared_row(self, variable: tf.Variable) -> tf.Tensor:
        if self.num_domains == 1:
            return variable[0]
        return tf.reduce_mean(variable[1:], axis=0)

    def with_shared_row(self, variable: tf.Variable) -> tf.Variable:
        """A constant copy of a variable whose row 0 is the mean row, for `fold`."""
        values = tf.concat([self.shared_row(variable)[None], variable[1:]], axis=0)
        return tf.Variable(values, trainable=False)


def same_in_every_row(blocks: int = 1) -> Any:
    """Glorot's uniform initialization of [num_domains, inputs, units], drawn once for all rows.

    Args:
        blocks: the units are so many layers side by side, each of which is initialized as a
            layer of `units / blocks`.
    """
    def initialize(shape: tuple[int, ...], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        rows, inputs, units = shape
        row = tf.concat([keras.initializers.GlorotUniform()((inputs, units // blocks), dtype)
                         for _ in range(blocks)], axis=1)
        return tf.tile(row[None], [rows, 1, 1])
    return initialize


def own_in_every_row(shape: tuple[int, ...], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
    """Glorot's uniform initialization of each matrix of [matrices, inputs, units].

    Keras would take the first axis for the width of a convolution and start far too small.
    """
    return tf.stack([keras.initializers.GlorotUniform()(shape[1:], dtype)
                     for _ in range(shape[0])])

"""Layers without shared weights, whose shared model is the mean of the domains."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer


class SharedMeanLayer(DomainLayer):
    """Domain layer whose weights for unseen domains are the mean of the others'.

    Row 0, for unseen domains, has no rows to learn from. At inference it is the mean of the
    other rows, and a domain added later starts from that mean. A mean of networks is a
    meaningful network only if they have a common origin: `same_for_every_domain` initializes
    all rows to the same values.

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.
    """

    def gather_with_mean(
        self, domains: DomainBatch, variable: tf.Variable, training: bool
    ) -> tf.Tensor:
        """Gathers the present domains' rows of a variable; row 0 is the mean at inference."""
        values = domains.gather(variable)
        if training or self.num_domains == 1:
            return values
        unseen = tf.equal(domains.present_domains, 0)

        def with_mean() -> tf.Tensor:
            is_mean = tf.reshape(unseen, [-1] + [1] * (values.shape.rank - 1))
            return tf.where(is_mean, self.shared_row(variable), values)

        return tf.cond(tf.reduce_any(unseen), with_mean, lambda: values)

    def shared_row(self, variable: tf.Variable) -> tf.Tensor:
        if self.num_domains == 1:
            return variable[0]
        return tf.reduce_mean(variable[1:], axis=0)

    def rows_with_mean(self, variable: tf.Variable) -> tf.Tensor:
        """Returns the rows of all domains of a variable, with the mean as row 0."""
        return tf.concat([self.shared_row(variable)[None], variable[1:]], axis=0)

    def with_shared_row(self, variable: tf.Variable) -> tf.Variable:
        """Returns a constant copy of a variable, with the mean as row 0, for `fold`."""
        return tf.Variable(self.rows_with_mean(variable), trainable=False)


def same_for_every_domain(blocks: int = 1) -> Any:
    """Returns an initializer of [num_domains, inputs, units]: Glorot's uniform distribution,
    drawn once for all domains.

    >>> values = same_for_every_domain()((3, 4, 2))
    >>> bool(tf.reduce_all(values[0] == values[2]))
    True

    Args:
        blocks: Number of independent layers that the units consist of, each of which is
            initialized like a layer of `units / blocks`.
    """

    def initialize(shape: tuple[int, ...], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        num_domains, inputs, units = shape
        glorot = keras.initializers.GlorotUniform
        row = tf.concat(
            [glorot()((inputs, units // blocks), dtype) for _ in range(blocks)], axis=1
        )
        return tf.tile(row[None], [num_domains, 1, 1])

    return initialize


def glorot_per_matrix(shape: tuple[int, ...], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
    """Initializes each matrix of [matrices, inputs, units] by Glorot's uniform distribution.

    Keras would take the first axis for the width of a convolution and start far too small.

    >>> glorot_per_matrix((3, 4, 2)).shape
    TensorShape([3, 4, 2])
    """
    return tf.stack(
        [keras.initializers.GlorotUniform()(shape[1:], dtype) for _ in range(shape[0])]
    )

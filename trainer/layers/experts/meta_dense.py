"""The meta unit of M2M, a dense layer with weights generated from the domain."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.grouped_matmul import grouped_matmul


@keras.utils.register_keras_serializable('mdctr')
class MetaDense(keras.layers.Layer):
    """Dense layer whose kernel and bias are linear functions of a vector of the domain.

    Meta unit of M2M (Zhang et al. 2022), with one layer, for a row h of a domain with the
    scenario knowledge s:

        Meta(h) = ReLU(W^T h + b)        W = reshape(V_w s + v_w)        b = V_b s + v_b

    The weights are generated once for each present domain. v_w is initialized like the kernel
    of an ordinary layer, and s = 0 gives that layer.

    Example:

    >>> layer = MetaDense(4)
    >>> domains = DomainBatch(tf.constant([1, 1, 2]), 3)
    >>> layer((tf.ones([3, 8]), tf.ones([2, 5])), domains).shape
    TensorShape([3, 4])
    >>> layer((tf.ones([3, 6, 8]), tf.ones([2, 5])), domains).shape  # six vectors per row
    TensorShape([3, 6, 4])

    Args:
        units: Width of the output.

    Shapes: h [batch, c] or [batch, vectors, c], sorted by domain, and s [present, dim] to
    [batch, units] or [batch, vectors, units].
    """

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: tuple[tf.TensorShape, tf.TensorShape]) -> None:
        self.width, context = (shape[-1] for shape in input_shape)
        size = self.width * self.units
        self.kernel_generator = self.add_weight(
            'kernel_generator', (context, size), initializer='glorot_uniform'
        )
        self.kernel = self.add_weight(
            'kernel', (self.width, self.units), initializer='glorot_uniform'
        )
        self.bias_generator = self.add_weight(
            'bias_generator', (context, self.units), initializer='glorot_uniform'
        )
        self.bias = self.add_weight('bias', (self.units,), initializer='zeros')
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], domains: DomainBatch) -> tf.Tensor:
        """Computes the layer's outputs.

        Args:
            inputs: h and s.
            domains: Domains of the rows.
        """
        values, knowledge = inputs
        kernel = tf.matmul(knowledge, self.kernel_generator)
        kernel = tf.reshape(kernel, [-1, self.width, self.units]) + self.kernel
        bias = domains.broadcast(tf.matmul(knowledge, self.bias_generator) + self.bias)
        if values.shape.rank == 2:
            return tf.nn.relu(domains.dense(values, kernel) + bias)
        vectors = values.shape[1]
        rows = tf.reshape(values, [-1, self.width])
        if domains.single_domain:
            outputs = tf.matmul(rows, kernel[0])
        else:
            counts = domains.counts(values) * vectors
            outputs = grouped_matmul(rows, kernel, counts, domains.num_domains)
        return tf.nn.relu(tf.reshape(outputs, [-1, vectors, self.units]) + bias[:, None, :])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units}

"""A separate dense layer for each domain."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import FoldedDense
from trainer.layers.domain.shared_mean import SharedMeanLayer, same_for_every_domain


@keras.utils.register_keras_serializable('mdctr')
class DomainDense(SharedMeanLayer):
    """Dense layer per domain that shares nothing: towers, gates and domain-specific experts.

    For a row x of domain p:

        y = phi(W_p^T x + b_p)

    All domains start at the same weights. Rows of an unseen domain are scored with the mean of
    the domains' weights; in training, row 0 is a domain like any other.

    Example:

    >>> layer = DomainDense(4, num_domains=3, activation='relu')
    >>> layer(tf.ones([2, 8]), tf.constant([1, 2])).shape
    TensorShape([2, 4])

    Args:
        units: Width of the output.
        num_domains: Number of domains, including row 0 for unseen ones.
        activation: phi, name of a Keras activation.
        blocks: Number of independent layers that the units consist of; it affects only their
            initialization.

    Shapes: inputs [batch, c] to [batch, units].
    """

    def __init__(
        self,
        units: int,
        num_domains: int,
        activation: str | None = None,
        blocks: int = 1,
        **kwargs: Any,
    ):
        super().__init__(num_domains, **kwargs)
        self.units = units
        self.activation = keras.activations.get(activation)
        self.blocks = blocks

    def build(self, input_shape: tf.TensorShape) -> None:
        self.domain_kernel = self.add_domain_weight(
            'kernel',
            (input_shape[-1], self.units),
            initializer=same_for_every_domain(self.blocks),
        )
        self.domain_bias = self.add_domain_weight('bias', (self.units,), initializer='zeros')
        super().build(input_shape)

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        if self.folded is not None and not training:
            kernel = tf.cast(domains.gather(self.folded.kernel), inputs.dtype)
            bias = tf.cast(domains.gather(self.folded.bias), inputs.dtype)
        else:
            kernel = self.gather_with_mean(domains, self.domain_kernel, training)
            bias = self.gather_with_mean(domains, self.domain_bias, training)
        return self.activation(domains.dense(inputs, kernel, bias, training=training))

    def fold(self) -> None:
        """Computes the mean of the domains' weights once."""
        self.folded = FoldedDense(
            self.with_shared_row(self.domain_kernel), self.with_shared_row(self.domain_bias)
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'units': self.units,
            'blocks': self.blocks,
            'activation': keras.activations.serialize(self.activation),
        }

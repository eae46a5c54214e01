"""The star topology fully-connected layer of STAR (3.4)."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer, FoldedDense


@keras.utils.register_keras_serializable('mdctr')
class StarDense(DomainLayer):
    """Dense layer whose weights are the product of shared weights and the domain's own.

    STAR, equations 5 and 6, for a row `in_p` of domain p:

        W*_p = W_p (x) W        b*_p = b_p + b        out_p = phi((W*_p)^T in_p + b*_p)

    W and b learn from every row, W_p and b_p only from rows of domain p. W_p starts at one and
    b_p at zero: every domain starts as the shared layer, which unseen domains keep.

    Example:

    >>> layer = StarDense(64, num_domains=20, activation='relu')
    >>> inputs = tf.random.normal([3, 8])
    >>> layer(inputs, domain=tf.constant(3)).shape  # all rows of domain 3
    TensorShape([3, 64])
    >>> layer(inputs, domain=tf.constant([3, 7, 3])).shape  # any mix of domains
    TensorShape([3, 64])

    Args:
        units: Width d of the output.
        num_domains: Number of domains, including row 0 for unseen ones.
        activation: phi, name of a Keras activation.

    Shapes: inputs [batch, c] to [batch, units].
    """

    def __init__(
        self, units: int, num_domains: int, activation: str | None = None, **kwargs: Any
    ):
        super().__init__(num_domains, **kwargs)
        self.units = units
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: tf.TensorShape) -> None:
        width = input_shape[-1]
        self.kernel = self.add_weight(
            'kernel', (width, self.units), initializer='glorot_uniform'
        )
        self.bias = self.add_weight('bias', (self.units,), initializer='zeros')
        self.domain_kernel = self.add_domain_weight(
            'kernel', (width, self.units), initializer='ones'
        )
        self.domain_bias = self.add_domain_weight('bias', (self.units,), initializer='zeros')
        super().build(input_shape)

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        if self.folded is not None and not training:
            kernel = tf.cast(domains.gather(self.folded.kernel), inputs.dtype)
            bias = tf.cast(domains.gather(self.folded.bias), inputs.dtype)
            return self.activation(domains.dense(inputs, kernel, bias, training=False))
        kernel = domains.gather(self.domain_kernel)
        bias = domains.gather(self.domain_bias) + self.bias
        factor = tf.convert_to_tensor(self.kernel)
        return self.activation(domains.dense(inputs, kernel, bias, factor, training=training))

    def domain_weights(self, domains: DomainBatch) -> tuple[tf.Tensor, tf.Tensor]:
        """Weights of the present domains (equation 5): W*, [present, c, units], and b*."""
        return (
            domains.gather(self.domain_kernel) * self.kernel,
            domains.gather(self.domain_bias) + self.bias,
        )

    def fold(self) -> None:
        """Computes the weights of every domain once (STAR 4.4)."""
        self.folded = FoldedDense(
            tf.Variable(self.domain_kernel * self.kernel, trainable=False),
            tf.Variable(self.domain_bias + self.bias, trainable=False),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'units': self.units,
            'activation': keras.activations.serialize(self.activation),
        }

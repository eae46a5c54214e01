"""The star topology fully-connected layer of STAR (3.4)."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_layer import DomainLayer, FoldedDense
from trainer.layers.domain_rows import DomainRows
from trainer.layers.normalize import Dense


@keras.utils.register_keras_serializable('mdctr')
class StarDense(DomainLayer):
    """A dense layer whose weights are shared weights times the domain's own.

    STAR, equations 5 and 6, for a row `in_p` of domain p:

        W*_p = W_p (x) W        b*_p = b_p + b        out_p = phi((W*_p)^T in_p + b*_p)

    W and b learn from every row, W_p and b_p from the rows of domain p alone. W_p starts at
    one and b_p at zero: every domain starts as the shared layer, and an unseen one stays it.

    Example:

        layer = StarDense(64, num_domains=20, activation='relu')
        layer(inputs, domain=tf.constant(3))      # inputs [batch, c], all of domain 3
        layer(inputs, domain=domains)             # domains [batch], any mix

    Args:
        units: the width d of the output.
        num_domains: the domains, and in row 0 the unseen ones.
        activation: phi, a Keras activation's name.

    Shapes: inputs [batch, c] to [batch, units].
    """

    def __init__(self, units: int, num_domains: int, activation: str | None = None,
                 **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.units = units
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: tf.TensorShape) -> None:
        width = input_shape[-1]
        self.kernel = self.add_weight('kernel', (width, self.units),
                                      initializer='glorot_uniform')
        self.bias = self.add_weight('bias', (self.units,), initializer='zeros')
        self.domain_kernel = self.add_domain_weight('kernel', (width, self.units),
                                                    initializer='ones')
        self.domain_bias = self.add_domain_weight('bias', (self.units,), initializer='zeros')
        super().build(input_shape)

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        if self.folded is not None and not training:
            bias = tf.cast(rows.take(self.folded.bias), inputs.dtype)
            return self.activation(rows.dense_of(inputs, self.folded.kernel, bias))
        return self.activation(rows.dense_of(
            inputs, self.domain_kernel, rows.take(self.domain_bias) + self.bias,
            shared=self.kernel))

    def of_domain(self, rows: DomainRows) -> Dense:
        """W* and b* of the domain of a batch of one domain, equation 5."""
        return Dense(rows.take(self.domain_kernel)[0] * self.kernel,
                     rows.take(self.domain_bias) + self.bias)

    def fold(self) -> None:
        """Multiplies the weights out for every domain (STAR 4.4)."""
        self.folded = FoldedDense(
            tf.Variable(self.domain_kernel * self.kernel, trainable=False),
            tf.Variable(self.domain_bias + self.bias, trainable=False))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units,
                'activation': keras.activations.serialize(self.activation)}

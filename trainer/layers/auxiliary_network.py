"""The auxiliary network of STAR (3.5)."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_layer import DomainLayer, FoldedDense, zero_row_then_uniform
from trainer.layers.domain_rows import DomainRows
from trainer.layers.normalize import Dense


@keras.utils.register_keras_serializable('mdctr')
class AuxiliaryNetwork(DomainLayer):
    """A small network through which the domain acts on the logit directly.

    STAR, equation 7: s_a, the output of two fully-connected layers over the domain's own
    embedding beside the other features' embeddings, is added to the main network's logit
    s_m: Sigmoid(s_m + s_a). The unseen domain's embedding is zero and stays so.

    The domain's part of the first layer is multiplied once a domain, not once a row, which
    is the same product as that of the concatenation.

    Args:
        num_domains: the domains, and in row 0 the unseen ones.
        units: the width of the first layer, small beside the main network's.
        embedding_dim: of the domain's embedding.

    Shapes: inputs [batch, features] to [batch, 1].
    """

    def __init__(self, num_domains: int, units: int = 16, embedding_dim: int = 16,
                 **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.units = units
        self.embedding_dim = embedding_dim

    def build(self, input_shape: tf.TensorShape) -> None:
        self.domain_embedding = self.add_domain_weight(
            'embedding', (self.embedding_dim,), initializer=zero_row_then_uniform)
        shape = (input_shape[-1] + self.embedding_dim, self.units)
        self.hidden_kernel = self.add_weight('hidden_kernel', shape,
                                             initializer='glorot_uniform')
        self.hidden_bias = self.add_weight('hidden_bias', (self.units,), initializer='zeros')
        self.output_kernel = self.add_weight('output_kernel', (self.units, 1),
                                             initializer='glorot_uniform')
        self.output_bias = self.add_weight('output_bias', (1,), initializer='zeros')
        super().build(input_shape)

    @property
    def domain_vectors(self) -> tf.Variable:
        return self.domain_embedding

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        if self.folded is not None and not training:
            of_domain = tf.cast(rows.take(self.folded.bias), inputs.dtype)
            kernel = tf.cast(self.folded.kernel, inputs.dtype)
        else:
            kernel, of_domain = self.first_layer(rows)
        return self.second_layer(tf.matmul(inputs, kernel) + rows.spread(of_domain))

    def first_layer(self, rows: DomainRows) -> Dense:
        """The first layer's kernel for the inputs, and the domain's part as a bias, [present,
        units]; what it gives is not activated."""
        of_domain = tf.matmul(rows.take(self.domain_embedding),
                              self.hidden_kernel[:self.embedding_dim]) + self.hidden_bias
        return Dense(self.hidden_kernel[self.embedding_dim:], of_domain)

    def second_layer(self, hidden: tf.Tensor) -> tf.Tensor:
        """The outputs [batch, 1] of what the first layer gave."""
        return tf.matmul(tf.nn.relu(hidden), self.output_kernel) + self.output_bias

    def fold(self) -> None:
        """Multiplies the domain's part of the first layer out for every domain."""
        kernel = self.hidden_kernel[:self.embedding_dim]
        self.folded = FoldedDense(
            tf.Variable(self.hidden_kernel[self.embedding_dim:], trainable=False),
            tf.Variable(tf.matmul(self.domain_embedding, kernel) + self.hidden_bias,
                        trainable=False))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units,
                'embedding_dim': self.embedding_dim}

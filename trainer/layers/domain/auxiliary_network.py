"""The auxiliary network of STAR (3.5)."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import (
    DomainLayer,
    FoldedDense,
    uniform_with_zero_first_row,
)


@keras.utils.register_keras_serializable('mdctr')
class AuxiliaryNetwork(DomainLayer):
    """Small network through which the domain acts directly on the logit.

    STAR, equation 7: s_a, the output of two fully-connected layers over the concatenation of
    the domain's embedding and the features' embeddings, is added to the main network's logit
    s_m: Sigmoid(s_m + s_a). The embedding of unseen domains is zero and remains so.

    The first layer's product with the domain's embedding is computed once per domain instead
    of once per row, with the same result as for the concatenation.

    Example:

    >>> layer = AuxiliaryNetwork(num_domains=3, units=4, embedding_dim=2)
    >>> layer(tf.ones([5, 8]), tf.constant(1)).shape
    TensorShape([5, 1])

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.
        units: Width of the first layer, small compared with the main network's.
        embedding_dim: Dimension of the domain's embedding.

    Shapes: inputs [batch, features] to [batch, 1].
    """

    def __init__(
        self, num_domains: int, units: int = 16, embedding_dim: int = 16, **kwargs: Any
    ):
        super().__init__(num_domains, **kwargs)
        self.units = units
        self.embedding_dim = embedding_dim

    def build(self, input_shape: tf.TensorShape) -> None:
        self.domain_embedding = self.add_domain_weight(
            'embedding', (self.embedding_dim,), initializer=uniform_with_zero_first_row
        )
        shape = (input_shape[-1] + self.embedding_dim, self.units)
        self.hidden_kernel = self.add_weight(
            'hidden_kernel', shape, initializer='glorot_uniform'
        )
        self.hidden_bias = self.add_weight('hidden_bias', (self.units,), initializer='zeros')
        self.output_kernel = self.add_weight(
            'output_kernel', (self.units, 1), initializer='glorot_uniform'
        )
        self.output_bias = self.add_weight('output_bias', (1,), initializer='zeros')
        super().build(input_shape)

    @property
    def domain_vectors(self) -> tf.Variable:
        return self.domain_embedding

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        if self.folded is not None and not training:
            kernel = tf.cast(self.folded.kernel, inputs.dtype)
            bias = tf.cast(domains.gather(self.folded.bias), inputs.dtype)
        else:
            kernel, bias = self.first_layer(domains.gather(self.domain_embedding))
        hidden = tf.nn.relu(tf.matmul(inputs, kernel) + domains.broadcast(bias))
        return tf.matmul(hidden, self.output_kernel) + self.output_bias

    def first_layer(self, embedding: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Splits the first layer.

        Args:
            embedding: Embeddings of some domains, [domains, embedding_dim].

        Returns:
            The kernel for the features, [features, units], and the product with the domains'
            embeddings as biases, [domains, units].
        """
        of_domain, of_features = tf.split(self.hidden_kernel, [self.embedding_dim, -1], axis=0)
        return of_features, tf.matmul(embedding, of_domain) + self.hidden_bias

    def fold(self) -> None:
        """Computes the domain's part of the first layer once for every domain."""
        kernel, bias = self.first_layer(tf.convert_to_tensor(self.domain_embedding))
        self.folded = FoldedDense(
            tf.Variable(kernel, trainable=False), tf.Variable(bias, trainable=False)
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'units': self.units,
            'embedding_dim': self.embedding_dim,
        }

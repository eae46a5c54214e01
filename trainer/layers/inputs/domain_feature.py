"""The domain as a feature."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer, uniform_with_zero_first_row


@keras.utils.register_keras_serializable('mdctr')
class DomainFeature(DomainLayer):
    """Appends the embedding of each row's domain to the embeddings of its features.

    The embedding of unseen domains is zero and remains so.

    Example:

    >>> layer = DomainFeature(num_domains=3, dim=4)
    >>> layer(tf.ones([2, 5, 4]), tf.constant([1, 2])).shape
    TensorShape([2, 6, 4])

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.
        dim: Dimension of the embedding.

    Shapes: inputs [batch, fields, dim] to [batch, fields + 1, dim].
    """

    def __init__(self, num_domains: int, dim: int, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.dim = dim

    def build(self, input_shape: tf.TensorShape) -> None:
        self.domain_table = self.add_domain_weight(
            'table', (self.dim,), initializer=uniform_with_zero_first_row
        )
        super().build(input_shape)

    @property
    def domain_vectors(self) -> tf.Variable:
        return self.domain_table

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        vectors = domains.broadcast(domains.gather(self.domain_table))[:, None, :]
        vectors = tf.broadcast_to(vectors, [tf.shape(inputs)[0], 1, self.dim])
        return tf.concat([inputs, vectors], axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'dim': self.dim}

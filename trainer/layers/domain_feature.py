"""The domain as one more feature."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_layer import DomainLayer, zero_row_then_uniform
from trainer.layers.domain_rows import DomainRows


@keras.utils.register_keras_serializable('mdctr')
class DomainFeature(DomainLayer):
    """Appends the embedding of each row's domain to its features' embeddings.

    Args:
        num_domains: the domains, and in row 0 the unseen ones, whose embedding stays zero.
        dim: of the embedding.

    Shapes: inputs [batch, fields, dim] to [batch, fields + 1, dim].
    """

    def __init__(self, num_domains: int, dim: int, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.dim = dim

    def build(self, input_shape: tf.TensorShape) -> None:
        self.domain_table = self.add_domain_weight('table', (self.dim,),
                                                   initializer=zero_row_then_uniform)
        super().build(input_shape)

    @property
    def domain_vectors(self) -> tf.Variable:
        return self.domain_table

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        own = rows.spread(rows.take(self.domain_table))[:, None, :]
        own = tf.broadcast_to(own, [tf.shape(inputs)[0], 1, self.dim])
        return tf.concat([inputs, own], axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'dim': self.dim}

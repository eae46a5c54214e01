"""The adapter cell of HAMUR, whose weights are generated for each row."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer
from trainer.layers.domain.partitioned_normalization import PartitionedNormalization


@keras.utils.register_keras_serializable('mdctr')
class HyperAdapter(DomainLayer):
    """Bottleneck with generated weights, a normalization by domain, and a shortcut.

    Adapter cell of HAMUR (Li et al. 2023), for a row h of domain p with the representation
    matrix R that a hyper-network made of the row:

        a = sigmoid((U_1 R V_1)^T h + b_1)
        y = h + DN_p((U_2 R V_2)^T a + b_2)

    U_1, V_1, U_2 and V_2 are shared by all domains. DN_p is `PartitionedNormalization`, by
    whose moving averages inference normalizes. The products are evaluated from the input
    outwards, so that no matrix of the layer's size is made for a row.

    Example:

    >>> layer = HyperAdapter(num_domains=3, units=4)
    >>> layer((tf.ones([2, 8]), tf.ones([2, 5, 5])), tf.constant([1, 2])).shape
    TensorShape([2, 8])

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.
        units: Width of the bottleneck a.

    Shapes: h [batch, c] and R [batch, k, k] to [batch, c].
    """

    def __init__(self, num_domains: int, units: int = 32, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.units = units
        self.normalization = PartitionedNormalization(num_domains, name='normalization')

    def build(self, input_shape: tuple[tf.TensorShape, tf.TensorShape]) -> None:
        (_, width), (_, _, rank) = input_shape
        shapes = {
            'down_inner': (width, rank),
            'down_outer': (rank, self.units),
            'up_inner': (self.units, rank),
            'up_outer': (rank, width),
        }
        self.factors = [
            self.add_weight(name, shape, initializer='glorot_uniform')
            for name, shape in shapes.items()
        ]
        self.down_bias = self.add_weight('down_bias', (self.units,), initializer='zeros')
        self.up_bias = self.add_weight('up_bias', (width,), initializer='zeros')
        super().build(input_shape)

    def compute(
        self, inputs: tuple[tf.Tensor, tf.Tensor], domains: DomainBatch, training: bool
    ) -> tf.Tensor:
        values, matrices = inputs
        down_inner, down_outer, up_inner, up_outer = self.factors
        down = _product(values, down_inner, matrices, down_outer)
        hidden = tf.sigmoid(down + self.down_bias)
        up = _product(hidden, up_inner, matrices, up_outer) + self.up_bias
        return values + self.normalization(up, domains, training=training)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units}


def _product(
    values: tf.Tensor, inner: tf.Tensor, matrices: tf.Tensor, outer: tf.Tensor
) -> tf.Tensor:
    """(inner R outer)^T x of each row x with its matrix R."""
    projected = tf.matmul(values, inner)
    return tf.matmul(tf.squeeze(tf.matmul(projected[:, None, :], matrices), axis=1), outer)

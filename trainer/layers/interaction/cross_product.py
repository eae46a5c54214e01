"""Cross-product features of Wide & Deep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf

_PRIME = 1_000_003


@keras.utils.register_keras_serializable('mdctr')
class CrossProduct(keras.layers.Layer):
    """Weight for every combination of the ids of some features.

    Wide & Deep (Cheng et al. 2016), equation 1: phi_k(x) = prod_i x_i^c_ki is one for the rows
    that have all ids of the combination k. Combinations are hashed to `buckets` weights per
    cross, which start at zero.

    Example:

    >>> layer = CrossProduct([['age', 'hour']], buckets=100)
    >>> layer({'age': tf.constant([1, 2]), 'hour': tf.constant([3, 3])}).numpy().tolist()
    [0.0, 0.0]

    Args:
        crosses: Names of the features of each cross, at least two, of one id each.
        buckets: Number of weights of each cross.

    Shapes: dictionary of ids [batch] by feature name to [batch], the sum of the weights.
    """

    def __init__(self, crosses: Sequence[Sequence[str]], buckets: int = 100_000, **kwargs: Any):
        super().__init__(**kwargs)
        self.crosses = [list(names) for names in crosses]
        self.buckets = buckets

    def build(self, input_shape: Any) -> None:
        self.weights_of = self.add_weight(
            'weights', (len(self.crosses) * self.buckets,), initializer='zeros'
        )
        super().build(input_shape)

    def call(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        places = tf.stack(
            [
                i * self.buckets + self._bucket([inputs[name] for name in names])
                for i, names in enumerate(self.crosses)
            ],
            axis=1,
        )
        return tf.reduce_sum(tf.gather(self.weights_of, places), axis=1)

    def _bucket(self, columns: list[tf.Tensor]) -> tf.Tensor:
        """Bucket of each row's combination; int64 products wrap around."""
        mixed = tf.zeros_like(columns[0], tf.int64)
        for ids in columns:
            mixed = (mixed + tf.cast(ids, tf.int64)) * _PRIME
            mixed = tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, 15))
        return tf.math.floormod(mixed, self.buckets)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'crosses': self.crosses, 'buckets': self.buckets}

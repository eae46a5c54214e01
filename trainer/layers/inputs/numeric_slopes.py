"""A linear term of a number in addition to the embedding of its bucket."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from mdctr.manifest import Feature
from trainer.keras import keras, tf

_LIMIT = 3**0.5  # the uniform distribution over [-sqrt(3), sqrt(3)] has variance 1


@keras.utils.register_keras_serializable('mdctr')
class NumericSlopes(keras.layers.Layer):
    """Adds v_m x_m to the embedding of every numeric feature m (AutoInt, Song et al. 2019,
    4.3).

    Examples have the number's bucket, and x_m is the bucket's position among the feature's K
    buckets, from -sqrt(3) to sqrt(3) in equal steps; a missing number has x_m = 0. If buckets
    are quantiles, and so equally frequent, x_m has mean 0 and variance (K + 1) / (K - 1), which
    is 3 for two buckets and near 1 for many. The effect that a number has across all buckets
    then need not be learned by each of them from its own rows.

    Example:

    >>> layer = NumericSlopes([Feature('age', 'numeric', 'user', size=4)], dim=8)
    >>> layer(tf.zeros([2, 1, 8]), {'age': tf.constant([1, 3])}).shape
    TensorShape([2, 1, 8])

    Args:
        features: Features in the order of the inputs' fields; at least one is numeric.
        dim: Dimension of their embeddings.

    Shapes: fields [batch, fields, dim], of which the first are those of the features, and a
    dictionary of ids by feature name, [batch], to fields of the same shape.
    """

    def __init__(self, features: list[Feature], dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.features = [
            feature if isinstance(feature, Feature) else Feature(**feature)
            for feature in features
        ]
        self.dim = dim
        self._places = [
            place for place, feature in enumerate(self.features) if feature.kind == 'numeric'
        ]

    @property
    def numeric_features(self) -> list[Feature]:
        """Numeric features, in order."""
        return [self.features[place] for place in self._places]

    def build(self, input_shape: Any) -> None:
        self.slopes = self.add_weight(
            'slopes',
            (len(self._places), self.dim),
            initializer=keras.initializers.RandomUniform(-0.05, 0.05),
        )
        super().build(input_shape)

    def call(self, fields: tf.Tensor, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        # Products with a small one-hot matrix place the terms among the other fields.
        one_hot = np.zeros([len(self._places), fields.shape[1]], np.float32)
        one_hot[np.arange(len(self._places)), self._places] = 1.0
        one_hot = tf.constant(one_hot, fields.dtype)
        positions = tf.matmul(self._positions(ids), one_hot)
        return fields + positions[:, :, None] * tf.matmul(
            one_hot, self.slopes, transpose_a=True
        )

    def _positions(self, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        """x of each numeric feature, [batch, numeric features]."""
        buckets = tf.stack([ids[feature.name] for feature in self.numeric_features], axis=1)
        sizes = np.array([feature.size for feature in self.numeric_features])
        present = (buckets > 0) & (buckets < tf.constant(sizes, buckets.dtype))
        # Bucket 1 is the lowest, size - 1 the highest; a single bucket has no position.
        steps = np.where(sizes > 2, 2 * _LIMIT / np.maximum(sizes - 2, 1), 0)
        center = sizes / 2
        distance = tf.cast(buckets, tf.float32) - tf.constant(center, tf.float32)
        positions = tf.where(present, distance * tf.constant(steps, tf.float32), 0.0)
        return tf.cast(positions, self.compute_dtype)

    def copy_slopes(self, other: NumericSlopes, features: Iterable[str]) -> None:
        """Copies another layer's slopes.

        Args:
            other: Layer of the same dimension.
            features: Names of features of both; those that are not numeric are ignored.
        """
        values, old = self.slopes.numpy(), other.slopes.numpy()
        old_rows = {feature.name: row for row, feature in enumerate(other.numeric_features)}
        for row, feature in enumerate(self.numeric_features):
            if feature.name in features and feature.name in old_rows:
                values[row] = old[old_rows[feature.name]]
        self.slopes.assign(values)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'dim': self.dim,
            'features': [asdict(feature) for feature in self.features],
        }

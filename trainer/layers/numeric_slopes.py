"""A number as a multiple of one vector, beside the vector of its bucket."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from beam_jobs.dataset import Feature
from trainer.keras import keras, tf

_SPREAD = 3 ** 0.5  # evenly over [-sqrt(3), sqrt(3)] is with variance 1


@keras.utils.register_keras_serializable('mdctr')
class NumericSlopes(keras.layers.Layer):
    """Adds v_m x_m to the vector of every numeric feature m (AutoInt, Song et al. 2019, 4.3).

    Examples hold the number's bucket, and x_m is the bucket's place among all of the feature,
    between -sqrt(3) and sqrt(3), so that it has mean 0 and variance 1 where buckets are
    quantiles; a missing number has x_m = 0. What all buckets have in common need then not be
    learned by each of them on its own, from its own rows.

    Args:
        features: in the order of the inputs' fields; some are numeric.
        dim: of their vectors.

    Shapes: fields [batch, fields, dim], of which the first are the features', and a dictionary
    of ids by feature name, [batch], to fields of the same shape.
    """

    def __init__(self, features: list[Feature], dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.features = [feature if isinstance(feature, Feature) else Feature(**feature)
                         for feature in features]
        self.dim = dim
        self._places = [place for place, feature in enumerate(self.features)
                        if feature.kind == 'numeric']

    @property
    def numbers(self) -> list[Feature]:
        """The numeric features."""
        return [self.features[place] for place in self._places]

    def build(self, input_shape: Any) -> None:
        self.slopes = self.add_weight('slopes', (len(self._places), self.dim),
                                      initializer=keras.initializers.RandomUniform(-0.05, 0.05))
        super().build(input_shape)

    def call(self, fields: tf.Tensor, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        # Placed among the other fields, whose vectors stay as they are, by small products.
        at = np.zeros([len(self._places), fields.shape[1]], np.float32)
        at[np.arange(len(self._places)), self._places] = 1.0
        at = tf.constant(at, fields.dtype)
        values = tf.matmul(self._values(ids), at)
        return fields + values[:, :, None] * tf.matmul(at, self.slopes, transpose_a=True)

    def _values(self, ids: dict[str, tf.Tensor]) -> tf.Tensor:
        """x [batch, numeric features]."""
        numbers = self.numbers
        buckets = tf.stack([ids[feature.name] for feature in numbers], axis=1)
        sizes = np.array([feature.size for feature in numbers])
        there = (buckets > 0) & (buckets < tf.constant(sizes, buckets.dtype))
        # Bucket 1 is the lowest, size - 1 the highest; a single bucket says nothing.
        steps = np.where(sizes > 2, 2 * _SPREAD / np.maximum(sizes - 2, 1), 0)
        middle = sizes / 2
        place = tf.cast(buckets, tf.float32) - tf.constant(middle, tf.float32)
        values = tf.where(there, place * tf.constant(steps, tf.float32), 0.0)
        return tf.cast(values, self.compute_dtype)

    def copy_slopes(self, other: NumericSlopes, features: Iterable[str]) -> None:
        """Takes another layer's slopes.

        Args:
            other: of the same width.
            features: names, of both; those of other kinds are passed over.
        """
        values, old = self.slopes.numpy(), other.slopes.numpy()
        theirs = {feature.name: row for row, feature in enumerate(other.numbers)}
        for row, feature in enumerate(self.numbers):
            if feature.name in features and feature.name in theirs:
                values[row] = old[theirs[feature.name]]
        self.slopes.assign(values)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'dim': self.dim,
                'features': [asdict(feature) for feature in self.features]}

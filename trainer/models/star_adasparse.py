"""STAR's partitioned normalization and star with AdaSparse's pruners in it."""

from __future__ import annotations

import numpy as np

from trainer.keras import keras, tf
from trainer.layers.star_dense import StarDense
from trainer.models.adasparse import AdaSparse, Pass


class StarAdaSparse(AdaSparse):
    """`star` (STAR 3.3 to 3.5) whose layers' inputs a domain-aware pruner prunes (AdaSparse
    3.1): out = phi((W_p (x) W)^T (h (x) pi) + b_p + b)."""

    NORMALIZATION = 'pn'
    AUXILIARY = True
    PACK_BELOW, PACK_ROWS = 1.0, 0  # its matrices are the domains' own anyhow

    def make_dense(self, units: int, activation: str | None, name: str) -> keras.layers.Layer:
        return StarDense(units, self.num_domains, activation=activation, name=name)

    def dense(self, layer: keras.layers.Layer, values: tf.Tensor, now: Pass) -> tf.Tensor:
        return layer(self.prune(layer, values, now), now.rows, training=now.training)

    def domain_weights(self, layer: StarDense) -> tuple[np.ndarray, np.ndarray]:
        return ((layer.domain_kernel * layer.kernel).numpy(),
                (layer.domain_bias + layer.bias).numpy())

    def make_cross(self, name: str) -> keras.layers.Layer:
        return self.make_dense(len(self.fields) * self.config.embedding_dim, None, name)

    def cross(self, layer: keras.layers.Layer, first: tf.Tensor, values: tf.Tensor,
              now: Pass) -> tf.Tensor:
        values = self.prune(layer, values, now)
        return first * layer(values, now.rows, training=now.training) + values

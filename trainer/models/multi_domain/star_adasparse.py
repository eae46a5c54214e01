"""STAR with AdaSparse's pruners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.keras import keras, tf
from trainer.layers.domain.star_dense import StarDense
from trainer.models.multi_domain.adasparse import AdaSparse, PruningPass


class StarAdaSparse(AdaSparse):
    """STAR (3.3 to 3.5) whose layers' inputs are pruned by domain (AdaSparse 3.1).

    out = phi((W_p (x) W)^T (h (x) pi) + b_p + b).
    """

    NORMALIZATION = 'pn'
    AUXILIARY = True
    PACK_BELOW, PACK_ROWS = 1.0, 0  # its matrices are the domains' own in any case

    def make_dense(self, units: int, activation: str | None, name: str) -> keras.layers.Layer:
        return StarDense(units, self.num_domains, activation=activation, name=name)

    def dense(
        self, layer: keras.layers.Layer, values: tf.Tensor, context: PruningPass
    ) -> tf.Tensor:
        pruned = self.prune(layer, values, context)
        return layer(pruned, context.domains, training=context.training)

    def weights_by_domain(
        self, layer: StarDense
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return (
            (layer.domain_kernel * layer.kernel).numpy(),
            (layer.domain_bias + layer.bias).numpy(),
        )

    def make_cross(self, name: str) -> keras.layers.Layer:
        return self.make_dense(len(self.fields) * self.config.embedding_dim, None, name)

    def cross(
        self,
        layer: keras.layers.Layer,
        first: tf.Tensor,
        values: tf.Tensor,
        context: PruningPass,
    ) -> tf.Tensor:
        return first * layer(values, context.domains, training=context.training) + values

"""A table of embeddings of its own for every domain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trainer.keras import keras, tf
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.domain_rows import DomainRows
from trainer.layers.feature_embedding import Embedded, FeatureEmbedding


@keras.utils.register_keras_serializable('mdctr')
class DomainFeatureEmbedding(FeatureEmbedding, DomainLayer):
    """What `FeatureEmbedding` is, where the same value has another vector in every domain.

    The tables of all domains stand one below the other, so that a row is moved only by the
    rows of its own domain that hold its value. All domains start at the same vectors. Rows of
    an unseen domain have, in inference, the mean of the domains' vectors.

    Args:
        features: of the dataset's manifest.
        dim: of every embedding.
        num_domains: the domains, and in table 0 the unseen ones.
        kwargs: of `FeatureEmbedding`.

    Shapes: a dictionary of ids by feature name, as of `FeatureEmbedding`, sorted by domain, and
    their `DomainRows` to `Embedded`.
    """

    def __init__(self, features: list[Any], dim: int, num_domains: int, **kwargs: Any):
        super().__init__(features, dim, num_domains=num_domains, **kwargs)

    def build(self, input_shape: Any) -> None:
        zero = np.append(np.fromiter(self._offsets.values(), np.int64), self.rows - 1)

        def initializer(shape, dtype=None, **kwargs):
            values = keras.initializers.RandomUniform(-0.05, 0.05)(
                (self.rows, self.dim), dtype=dtype)
            values = tf.tensor_scatter_nd_update(
                values, zero[:, None], tf.zeros([len(zero), self.dim], values.dtype))
            return tf.tile(values, [self.num_domains, 1])
        self.table = self.add_weight('domain_table', (self.num_domains * self.rows, self.dim),
                                     initializer=initializer)
        keras.layers.Layer.build(self, input_shape)

    def call(self, features: dict[str, tf.Tensor], domain: DomainRows,
             training: bool = False) -> Embedded:
        def vectors_at(places):
            first = tf.reshape(domain.domain, [-1, 1]) * self.rows
            if self.folded is not None and not training:
                return tf.gather(self.folded, places + first)
            vectors = tf.gather(self.table, places + first)
            if training or self.num_domains == 1:
                return vectors
            unseen = tf.equal(first, 0)[:, :, None]
            return tf.cond(tf.reduce_any(unseen),
                           lambda: tf.where(unseen, self._mean_at(places), vectors),
                           lambda: vectors)
        return self._look_up(features, training, vectors_at)

    def _mean_at(self, places: tf.Tensor) -> tf.Tensor:
        """The mean over the domains of the vectors at `places` of their tables."""
        firsts = self.rows * tf.range(1, self.num_domains)
        return tf.reduce_mean(tf.gather(self.table, firsts[:, None, None] + places), axis=0)

    def copy_rows(self, other: FeatureEmbedding, features: Iterable[str]) -> None:
        """Takes another embedding's vectors of the ids and domains that both have; a domain
        that the other lacks starts with the mean of its domains' vectors, and every domain
        with its vectors where it has one table for all.

        Args:
            other: of the same width.
            features: names, of both; what shares a vocabulary with them comes along.
        """
        values, old = _tables(self), _tables(other)
        added = max(0, len(values) - len(old))
        old = np.concatenate([old, np.repeat(_mean(old)[None], added, axis=0)])[:len(values)]
        names = set(features)
        for table in sorted(self._tables_of(names) & other._tables_of(names)):
            size = min(self._sizes[table], other._sizes[table])
            first, from_first = self._offsets[table], other._offsets[table]
            values[:, first:first + size] = old[:, from_first:from_first + size]
        values[:, -1] = old[:, -1]
        self.table.assign(values.reshape(self.table.shape))

    def fold(self) -> None:
        """Computes the mean of the domains' vectors once."""
        tables = _tables(self)
        tables[0] = _mean(tables)
        self.folded = tf.Variable(tables.reshape(self.table.shape), trainable=False)


def _tables(layer: FeatureEmbedding) -> np.ndarray:
    return layer.table.numpy().reshape(-1, layer.rows, layer.dim)


def _mean(tables: np.ndarray) -> np.ndarray:
    return tables[1:].mean(axis=0) if len(tables) > 1 else tables[0]

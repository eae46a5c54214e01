"""Embedding tables of each domain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdctr.manifest import Feature
from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer
from trainer.layers.inputs.feature_embedding import EmbeddedFeatures, FeatureEmbedding
from trainer.layers.sparse.pooling import mean_of_vectors


@keras.utils.register_keras_serializable('mdctr')
class DomainFeatureEmbedding(FeatureEmbedding, DomainLayer):
    """`FeatureEmbedding` in which a value has a different vector in each domain.

    The tables of all domains are concatenated, so that a vector is updated only by the rows of
    its own domain that have its value. All domains start at the same vectors. At inference,
    rows of an unseen domain have the mean of the domains' vectors.

    Example:

    >>> features = [Feature('age', 'numeric', 'user', size=4)]
    >>> layer = DomainFeatureEmbedding(features, dim=8, num_domains=3)
    >>> domains = DomainBatch(tf.constant([1, 2]), 3)
    >>> layer({'age': tf.constant([1, 3])}, domains).fields.shape
    TensorShape([2, 1, 8])

    Args:
        features: Features of the dataset's manifest.
        dim: Dimension of every embedding.
        num_domains: Number of domains, including table 0 for unseen ones.
        kwargs: Further arguments of `FeatureEmbedding`.

    Shapes: dictionary of ids by feature name, as for `FeatureEmbedding`, sorted by domain, and
    their `DomainBatch` to `EmbeddedFeatures`.
    """

    def __init__(self, features: list[Feature], dim: int, num_domains: int, **kwargs: Any):
        super().__init__(features, dim, num_domains=num_domains, **kwargs)

    def build(self, input_shape: Any) -> None:
        def initialize(shape: tuple[int, ...], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
            return tf.tile(self._initial_table(shape, dtype), [self.num_domains, 1])

        self.table = self.add_weight(
            'domain_table', (self.num_domains * self.rows, self.dim), initializer=initialize
        )
        keras.layers.Layer.build(self, input_shape)

    def call(  # type: ignore[override]  # the domain is no keyword of the other layer
        self, features: dict[str, tf.Tensor], domain: DomainBatch, training: bool = False
    ) -> EmbeddedFeatures:
        first = tf.reshape(domain.domain, [-1, 1]) * self.rows

        def vectors_at(places: tf.Tensor) -> tf.Tensor:
            if self.folded is not None and not training:
                return tf.gather(self.folded, places + first)
            vectors = tf.gather(self.table, places + first)
            if training or self.num_domains == 1:
                return vectors
            unseen = tf.equal(first, 0)[:, :, None]
            return tf.cond(
                tf.reduce_any(unseen),
                lambda: tf.where(unseen, self._mean_at(places), vectors),
                lambda: vectors,
            )

        def mean_at(
            places: tf.Tensor, mask: tf.Tensor, vectors: tf.Tensor, training: bool
        ) -> tf.Tensor:
            if not training:  # the vectors of an unseen domain are not in the table
                return mean_of_vectors(vectors, mask)
            return self._mean(places + first, mask, vectors, training)

        return self._look_up(features, training, vectors_at, mean_at)

    def _mean_at(self, places: tf.Tensor) -> tf.Tensor:
        """Mean over the domains of the vectors at `places` of their tables."""
        firsts = self.rows * tf.range(1, self.num_domains)
        return tf.reduce_mean(tf.gather(self.table, firsts[:, None, None] + places), axis=0)

    def copy_rows(self, other: FeatureEmbedding, features: Iterable[str]) -> None:
        """Copies another layer's embeddings of the ids and domains that both have.

        A domain that the other layer lacks starts with the mean of its domains' vectors; every
        domain starts with its vectors if it has one table for all.

        Args:
            other: Layer of the same dimension.
            features: Names of features of both; others that share a vocabulary with them are
                copied along.
        """
        values, old = _tables(self), _tables(other)
        added = max(0, len(values) - len(old))
        old = np.concatenate([old, np.repeat(_mean(old)[None], added, axis=0)])[: len(values)]
        names = set(features)
        for table in sorted(self._tables_of(names) & other._tables_of(names)):
            size = min(self._sizes[table], other._sizes[table])
            first, old_first = self._offsets[table], other._offsets[table]
            values[:, first : first + size] = old[:, old_first : old_first + size]
        values[:, -1] = old[:, -1]
        self.table.assign(values.reshape(self.table.shape))

    def fold(self) -> None:
        """Computes the mean of the domains' vectors once."""
        tables = _tables(self)
        tables[0] = _mean(tables)
        self.folded = tf.Variable(tables.reshape(self.table.shape), trainable=False)


def _tables(layer: FeatureEmbedding) -> NDArray[np.float32]:
    """Tables of the domains, [domains or 1, rows, dim]."""
    tables: NDArray[np.float32] = layer.table.numpy().reshape(-1, layer.rows, layer.dim)
    return tables


def _mean(tables: NDArray[np.float32]) -> NDArray[np.float32]:
    mean: NDArray[np.float32] = tables[1:].mean(axis=0) if len(tables) > 1 else tables[0]
    return mean

"""Embeddings of all features, looked up together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from mdctr.manifest import Feature
from trainer.keras import keras, tf
from trainer.layers.basic.dropout import RandomSeeds
from trainer.layers.sparse.paths import uses_sparse
from trainer.layers.sparse.pooling import mean_embedding


class EmbeddedSequence(NamedTuple):
    """A sequence feature before pooling.

    Attributes:
        vectors: Embeddings of the ids, [batch, length, dim]; zero where there is none.
        mask: Whether there is an id, bool [batch, length].
    """

    vectors: tf.Tensor
    mask: tf.Tensor


class EmbeddedFeatures(NamedTuple):
    """Embeddings of the features of a batch.

    Attributes:
        fields: One vector per feature, in the order of the features, [batch, features, dim];
            that of a sequence is the mean over its ids, zero if it has none.
        sequences: Sequences before pooling, by feature name.
    """

    fields: tf.Tensor
    sequences: dict[str, EmbeddedSequence]


@keras.utils.register_keras_serializable('mdctr')
class FeatureEmbedding(keras.layers.Layer):
    """Single table for the ids of all features, read with one lookup.

    In training, the means of sequences are looked up separately (`mean_embedding`).
    Features that share a vocabulary share its rows. Row 0 of each vocabulary, for unseen
    values, starts at zero, the center of the others. Ids outside a vocabulary count as unseen.

    Example:

    >>> layer = FeatureEmbedding([Feature('age', 'numeric', 'user', size=4)], dim=8)
    >>> layer({'age': tf.constant([1, 3])}).fields.shape
    TensorShape([2, 1, 8])

    Args:
        features: Features of the dataset's manifest.
        dim: Dimension of every embedding.
        l2: Weight in the loss of the mean squared norm of a row's embeddings.
        id_dropout: Rate at which training replaces ids by the unseen id, so that row 0
            represents values of which nothing is known.
        seed: Random seed of `id_dropout`.

    Shapes: dictionary of ids by feature name, [batch] or, for sequences, [batch, length]
    padded with -1, to `EmbeddedFeatures`.
    """

    def __init__(
        self,
        features: list[Feature],
        dim: int,
        l2: float = 0.0,
        id_dropout: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.features = [
            feature if isinstance(feature, Feature) else Feature(**feature)
            for feature in features
        ]
        self.dim = dim
        self.l2 = l2
        self.id_dropout = id_dropout
        self.seeds = RandomSeeds(seed) if id_dropout else None
        sizes: dict[str, int] = {}
        for feature in self.features:
            table = _table(feature)
            sizes[table] = max(sizes.get(table, 1), feature.size)
        self._offsets = dict(zip(sizes, np.cumsum([0, *sizes.values()][:-1]), strict=True))
        self._sizes = sizes

    @property
    def rows(self) -> int:
        """Number of rows of the table; the last one is for the padding of sequences."""
        return sum(self._sizes.values()) + 1

    def build(self, input_shape: Any) -> None:
        self.table = self.add_weight(
            'table', (self.rows, self.dim), initializer=self._initial_table
        )
        super().build(input_shape)

    def _initial_table(
        self, shape: tuple[int, ...], dtype: Any = None, **kwargs: Any
    ) -> tf.Tensor:
        """Draws the vectors of one table; those of unseen values and of padding are zero."""
        size = (self.rows, self.dim)
        values = keras.initializers.RandomUniform(-0.05, 0.05)(size, dtype=dtype)
        zero = np.append(np.fromiter(self._offsets.values(), np.int64), self.rows - 1)
        return tf.tensor_scatter_nd_update(
            values, zero[:, None], tf.zeros([len(zero), self.dim], values.dtype)
        )

    def copy_rows(self, other: FeatureEmbedding, features: Iterable[str]) -> None:
        """Copies another layer's embeddings of the ids that both have.

        Args:
            other: Layer of the same dimension.
            features: Names of features of both; others that share a vocabulary with them are
                copied along.
        """
        values, old = self.table.numpy(), other.table.numpy()
        names = set(features)
        for table in sorted(self._tables_of(names) & other._tables_of(names)):
            size = min(self._sizes[table], other._sizes[table])
            first, old_first = self._offsets[table], other._offsets[table]
            values[first : first + size] = old[old_first : old_first + size]
        values[-1] = old[-1]
        self.table.assign(values)

    def _tables_of(self, features: Iterable[str]) -> set[str]:
        return {_table(feature) for feature in self.features if feature.name in features}

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> EmbeddedFeatures:
        return self._look_up(
            features, training, lambda places: tf.gather(self.table, places), self._mean
        )

    def _mean(
        self, places: tf.Tensor, mask: tf.Tensor, vectors: tf.Tensor, training: bool
    ) -> tf.Tensor:
        """Mean of the vectors at `places` of the table."""
        return mean_embedding(
            self.table, places, mask, self.rows - 1, vectors, training=training
        )

    def _look_up(
        self,
        features: dict[str, tf.Tensor],
        training: bool,
        vectors_at: Callable[[tf.Tensor], tf.Tensor],
        mean_at: Callable[[tf.Tensor, tf.Tensor, tf.Tensor, bool], tf.Tensor],
    ) -> EmbeddedFeatures:
        """Same as `call`, with the functions that look up rows of the table, and their mean."""
        singles = [feature for feature in self.features if feature.kind != 'sequence']
        sequences = [feature for feature in self.features if feature.kind == 'sequence']
        columns, masks = [], {}
        if singles:
            ids = tf.stack([features[feature.name] for feature in singles], axis=1)
            columns.append(self._places(ids, singles))
        for feature in sequences:
            ids = features[feature.name]
            masks[feature.name] = ids >= 0
            columns.append(self._places(ids, [feature]))
        places = self._drop(tf.concat(columns, axis=1), training)
        widths = [
            column.shape[1] if column.shape[1] is not None else tf.shape(column)[1]
            for column in columns
        ]
        places_of = tf.split(places, widths, axis=1) if len(widths) > 1 else [places]
        if len(widths) == 1 or uses_sparse('pooling', training=training):
            # A sequence that is read only as its mean is not looked up again.
            parts = [vectors_at(rows) for rows in places_of]
        else:
            parts = tf.split(vectors_at(places), widths, axis=1)
        first = 1 if singles else 0
        means = {
            feature.name: mean_at(rows, masks[feature.name], values, training)
            for feature, rows, values in zip(
                sequences, places_of[first:], parts[first:], strict=True
            )
        }
        return self._embedded(singles, sequences, parts, masks, means, training)

    def _places(self, ids: tf.Tensor, features: list[Feature]) -> tf.Tensor:
        """Rows of the table for ids of features [batch, features], or of one sequence."""
        ids = tf.cast(ids, tf.int32)
        sizes = tf.constant([feature.size for feature in features], tf.int32)
        offsets = tf.constant(
            [self._offsets[_table(feature)] for feature in features], tf.int32
        )
        known = offsets + tf.where((ids >= 0) & (ids < sizes), ids, 0)
        if features[0].kind != 'sequence':
            return known
        return tf.where(ids >= 0, known, self.rows - 1)

    def _drop(self, places: tf.Tensor, training: bool) -> tf.Tensor:
        """Replaces some rows by those of unseen values."""
        if not training or self.seeds is None:
            return places
        starts = tf.constant([*self._offsets.values(), self.rows - 1], tf.int32)
        vocabulary = tf.searchsorted(starts, tf.reshape(places, [-1]), side='right') - 1
        unseen = tf.reshape(tf.gather(starts, vocabulary), tf.shape(places))
        draws = tf.random.stateless_uniform(tf.shape(places), self.seeds(None))
        return tf.where(draws < self.id_dropout, unseen, places)

    def _embedded(
        self,
        singles: list[Feature],
        sequences: list[Feature],
        parts: list[tf.Tensor],
        masks: dict[str, tf.Tensor],
        means: dict[str, tf.Tensor],
        training: bool,
    ) -> EmbeddedFeatures:
        """Combines the vectors `parts`: those of the singles, if any, and of each sequence."""
        unpooled: dict[str, EmbeddedSequence] = {}
        fields = parts[0]
        if sequences:
            fields, unpooled = self._pooled(singles, sequences, parts, masks, means)
        if training and self.l2:
            self._penalize([parts[0]] if singles else [], unpooled)
        return EmbeddedFeatures(fields, unpooled)

    def _pooled(
        self,
        singles: list[Feature],
        sequences: list[Feature],
        parts: list[tf.Tensor],
        masks: dict[str, tf.Tensor],
        means: dict[str, tf.Tensor],
    ) -> tuple[tf.Tensor, dict[str, EmbeddedSequence]]:
        fields, unpooled = dict(means), {}
        if singles:
            vectors = tf.unstack(parts[0], num=len(singles), axis=1)
            fields |= {
                feature.name: vector for feature, vector in zip(singles, vectors, strict=True)
            }
        for feature, vectors in zip(sequences, parts[1 if singles else 0 :], strict=True):
            mask = masks[feature.name]
            vectors *= tf.cast(mask, vectors.dtype)[:, :, None]
            unpooled[feature.name] = EmbeddedSequence(vectors, mask)
        return tf.stack([fields[feature.name] for feature in self.features], axis=1), unpooled

    def _penalize(
        self, singles: list[tf.Tensor], sequences: dict[str, EmbeddedSequence]
    ) -> None:
        looked_up = [*singles, *(sequence.vectors for sequence in sequences.values())]
        batch = tf.cast(tf.shape(looked_up[0])[0], tf.float32)
        squares = [
            tf.reduce_sum(tf.square(tf.cast(vectors, tf.float32))) for vectors in looked_up
        ]
        self.add_loss(self.l2 / batch * sum(squares))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'dim': self.dim,
            'l2': self.l2,
            'features': [asdict(feature) for feature in self.features],
            'id_dropout': self.id_dropout,
            'seed': 0 if self.seeds is None else self.seeds.seed,
        }


def _table(feature: Feature) -> str:
    """Name of the vocabulary, or of a numeric feature's own buckets."""
    return feature.vocabulary or f'{feature.name} (buckets)'

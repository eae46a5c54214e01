"""Embeddings of all features, looked up together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from beam_jobs.dataset import Feature
from trainer.keras import keras, tf
from trainer.layers.dropout import RandomSeeds


class Sequence(NamedTuple):
    """A sequence feature before pooling: vectors [batch, length, dim], mask [batch, length]."""

    vectors: tf.Tensor
    mask: tf.Tensor


class Embedded(NamedTuple):
    """What the model sees of a batch.

    `fields` [batch, features, dim] has one vector a feature, in the order of the features, a
    sequence's being the mean over its ids (zeros where it has none); `sequences` the vectors
    behind those means, by feature name.
    """

    fields: tf.Tensor
    sequences: dict[str, Sequence]


@keras.utils.register_keras_serializable('mdctr')
class FeatureEmbedding(keras.layers.Layer):
    """One table for all features' ids, read with one lookup a batch.

    Features of one vocabulary share its rows. Row 0 of each vocabulary, for unseen values,
    starts at zero, the middle of the others. Ids outside a vocabulary are unseen values.

    Args:
        features: of the dataset's manifest.
        dim: of every embedding.
        l2: weight of the mean squared norm of a row's looked-up embeddings in the loss.
        id_dropout: the share of ids that training takes for unseen, so that row 0 learns what
            a value looks like of which nothing is known.
        seed: of `id_dropout`.

    Shapes: a dictionary of ids by feature name, [batch] or, for sequences, [batch, length]
    padded with -1, to `Embedded`.
    """

    def __init__(self, features: list[Feature], dim: int, l2: float = 0.0,
                 id_dropout: float = 0.0, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.features = [feature if isinstance(feature, Feature) else Feature(**feature)
                         for feature in features]
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
        """Rows of the table; the last one stands behind the padding of sequences."""
        return sum(self._sizes.values()) + 1

    def build(self, input_shape: Any) -> None:
        unseen = np.fromiter(self._offsets.values(), np.int64)

        def initializer(shape, dtype=None, **kwargs):
            values = keras.initializers.RandomUniform(-0.05, 0.05)(shape, dtype=dtype)
            zero = np.append(unseen, shape[0] - 1)[:, None]
            return tf.tensor_scatter_nd_update(
                values, zero, tf.zeros([len(zero), shape[1]], values.dtype))
        self.table = self.add_weight('table', (self.rows, self.dim), initializer=initializer)
        super().build(input_shape)

    def copy_rows(self, other: FeatureEmbedding, features: Iterable[str]) -> None:
        """Takes another embedding's vectors of the ids that both have.

        Args:
            other: of the same width.
            features: names, of both; what shares a vocabulary with them comes along.
        """
        values, old = self.table.numpy(), other.table.numpy()
        names = set(features)
        for table in sorted(self._tables_of(names) & other._tables_of(names)):
            size = min(self._sizes[table], other._sizes[table])
            first, from_first = self._offsets[table], other._offsets[table]
            values[first:first + size] = old[from_first:from_first + size]
        values[-1] = old[-1]
        self.table.assign(values)

    def _tables_of(self, features: Iterable[str]) -> set[str]:
        return {_table(feature) for feature in self.features if feature.name in features}

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> Embedded:
        return self._look_up(features, training, lambda places: tf.gather(self.table, places))

    def _look_up(self, features: dict[str, tf.Tensor], training: bool,
                 vectors_at: Callable[[tf.Tensor], tf.Tensor]) -> Embedded:
        """What `call` gives, with the vectors at rows of the table as `vectors_at` gives them.
        """
        singles = [feature for feature in self.features if feature.kind != 'sequence']
        sequences = [feature for feature in self.features if feature.kind == 'sequence']
        columns, masks = [], {}
        if singles:
            columns.append(self._locate(
                tf.stack([features[feature.name] for feature in singles], axis=1), singles))
        for feature in sequences:
            ids = features[feature.name]
            masks[feature.name] = ids >= 0
            columns.append(self._locate(ids, [feature]))
        places = tf.concat(columns, axis=1)
        vectors = vectors_at(self._drop(places, training))
        widths = [column.shape[1] if column.shape[1] is not None else tf.shape(column)[1]
                  for column in columns]
        parts = tf.split(vectors, widths, axis=1) if len(widths) > 1 else [vectors]
        return self._embedded(singles, sequences, parts, masks, training)

    def _locate(self, ids: tf.Tensor, features: list[Feature]) -> tf.Tensor:
        """Rows of the table of ids [batch, features] (or of one sequence)."""
        ids = tf.cast(ids, tf.int32)
        sizes = tf.constant([feature.size for feature in features], tf.int32)
        offsets = tf.constant([self._offsets[_table(feature)] for feature in features],
                              tf.int32)
        known = offsets + tf.where((ids >= 0) & (ids < sizes), ids, 0)
        if features[0].kind != 'sequence':
            return known
        return tf.where(ids >= 0, known, self.rows - 1)

    def _drop(self, places: tf.Tensor, training: bool) -> tf.Tensor:
        if not training or not self.id_dropout:
            return places
        starts = tf.constant([*self._offsets.values(), self.rows - 1], tf.int32)
        vocabulary = tf.searchsorted(starts, tf.reshape(places, [-1]), side='right') - 1
        unseen = tf.reshape(tf.gather(starts, vocabulary), tf.shape(places))
        draws = tf.random.stateless_uniform(tf.shape(places), self.seeds(None))
        return tf.where(draws < self.id_dropout, unseen, places)

    def _embedded(self, singles, sequences, parts, masks, training) -> Embedded:
        if not sequences:
            unpooled, fields = {}, parts[0]
        else:
            unpooled, fields = self._pooled(singles, sequences, parts, masks)
        if training and self.l2:
            self._penalize([parts[0]] if singles else [], unpooled)
        return Embedded(fields, unpooled)

    def _pooled(self, singles, sequences, parts, masks):
        fields, unpooled = {}, {}
        if singles:
            vectors = tf.unstack(parts[0], num=len(singles), axis=1)
            fields = {feature.name: vector
                      for feature, vector in zip(singles, vectors, strict=True)}
        for feature, vectors in zip(sequences, parts[1 if singles else 0:], strict=True):
            weights = tf.cast(masks[feature.name], vectors.dtype)[:, :, None]
            vectors *= weights
            unpooled[feature.name] = Sequence(vectors, masks[feature.name])
            fields[feature.name] = tf.math.divide_no_nan(
                tf.reduce_sum(vectors, axis=1), tf.reduce_sum(weights, axis=1))
        return unpooled, tf.stack([fields[feature.name] for feature in self.features], axis=1)

    def _penalize(self, singles, sequences) -> None:
        looked_up = [*singles, *(sequence.vectors for sequence in sequences.values())]
        batch = tf.cast(tf.shape(looked_up[0])[0], tf.float32)
        self.add_loss(self.l2 / batch * sum(
            tf.reduce_sum(tf.square(tf.cast(vectors, tf.float32))) for vectors in looked_up))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'dim': self.dim, 'l2': self.l2,
                'features': [asdict(feature) for feature in self.features],
                'id_dropout': self.id_dropout, 'seed': self.seeds.seed if self.seeds else 0}


def _table(feature: Feature) -> str:
    """Whose ids these are: a vocabulary's, or a numeric feature's own buckets."""
    return feature.vocabulary or f'{feature.name} (buckets)'

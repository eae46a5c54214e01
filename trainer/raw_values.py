"""From raw feature values to ids, inside the exported graph."""

from __future__ import annotations

import os

import numpy as np

from beam_jobs.dataset import Domain, Feature
from trainer.keras import tf


def raw_signature(features: list[Feature]) -> dict[str, tf.TensorSpec]:
    """Raw inputs by name: text [batch], numbers float32 [batch], sequences of text
    [batch, any length] padded with ''; and `domain`, the domain's name."""
    specs = {feature.name: tf.TensorSpec(
        [None, None] if feature.kind == 'sequence' else [None],
        tf.float32 if feature.kind == 'numeric' else tf.string, name=feature.name)
        for feature in features}
    return {**specs, 'domain': tf.TensorSpec([None], tf.string, name='domain')}


def encoded_signature(features: list[Feature]) -> dict[str, tf.TensorSpec]:
    """Ids by name, int64 [batch] or, for sequences, [batch, any length] padded with -1."""
    specs = {feature.name: tf.TensorSpec(
        [None, None] if feature.kind == 'sequence' else [None], tf.int64, name=feature.name)
        for feature in features}
    return {**specs, 'domain': tf.TensorSpec([None], tf.int64, name='domain')}


class RawValues(tf.Module):
    """The vocabularies, bucket boundaries and domain names of a dataset as lookups.

    A value of no vocabulary, a missing one ('' or NaN) and an unknown domain are id 0.

    Args:
        dataset: the directory whose vocabulary files the exported model will carry.
        features: of the model.
        domains: of the dataset.
    """

    def __init__(self, dataset: str, features: list[Feature], domains: list[Domain]):
        super().__init__()
        self.features = features
        self.tables = {name: _line_numbers(os.path.join(dataset, 'vocabulary', name + '.txt'))
                       for name in sorted({feature.vocabulary for feature in features
                                           if feature.vocabulary})}
        self.domain_table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
            tf.constant([domain.name for domain in domains], tf.string),
            tf.constant([domain.id for domain in domains], tf.int64)), default_value=0)

    def __call__(self, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Ids, as the `encoded` signature takes them."""
        ids = {feature.name: self._ids(feature, raw[feature.name])
               for feature in self.features}
        return {**ids, 'domain': self.domain_table.lookup(raw['domain'])}

    def _ids(self, feature: Feature, values: tf.Tensor) -> tf.Tensor:
        if feature.kind == 'numeric':
            boundaries = tf.constant(np.array(feature.boundaries, np.float32))
            buckets = 1 + tf.searchsorted(boundaries, values, side='right',
                                          out_type=tf.int64)
            return tf.where(tf.math.is_nan(values), tf.zeros_like(buckets), buckets)
        ids = self.tables[feature.vocabulary].lookup(values) + 1
        if feature.kind != 'sequence':
            return ids
        empty = values == ''
        first = tf.argsort(tf.cast(empty, tf.int32), axis=1, stable=True)  # values in front
        ids = tf.gather(tf.where(empty, tf.constant(-1, tf.int64), ids), first, batch_dims=1)
        return ids[:, :feature.length]


def _line_numbers(path: str) -> tf.lookup.StaticHashTable:
    """Line numbers from 0; -1 for no line."""
    if not os.path.getsize(path):  # TensorFlow refuses to make a table of no lines
        return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(
            tf.constant(['']), tf.constant([-1], tf.int64)), default_value=-1)
    return tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(
        path, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER), default_value=-1)

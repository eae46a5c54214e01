"""Conversion of raw values and unchecked ids to ids, inside the exported graph."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from mdctr.dataset import Dataset
from mdctr.manifest import Domain, Feature
from trainer.export.calendar_features import TIMESTAMP, CalendarFeatures
from trainer.keras import tf

NUMBER = tf.float64  # as the dataset was bucketized: float32 moves numbers across boundaries


def raw_signature(features: Sequence[Feature]) -> dict[str, tf.TensorSpec]:
    """Returns the raw inputs by name.

    Text [batch], numbers [batch], sequences of text [batch, any length] padded with '', and
    `domain`, the name of the domain.
    """
    specs = {
        feature.name: tf.TensorSpec(
            [None, None] if feature.kind == 'sequence' else [None],
            NUMBER if feature.kind == 'numeric' else tf.string,
            name=feature.name,
        )
        for feature in features
    }
    return {**specs, 'domain': tf.TensorSpec([None], tf.string, name='domain')}


def timestamp_signature(
    features: Sequence[Feature], calendar: CalendarFeatures
) -> dict[str, tf.TensorSpec]:
    """Returns the raw inputs by name, with `timestamp` instead of the calendar features."""
    others = [feature for feature in features if feature.name not in calendar.columns]
    return {
        **raw_signature(others),
        TIMESTAMP: tf.TensorSpec([None], tf.float64, name=TIMESTAMP),
    }


def encoded_signature(features: Sequence[Feature]) -> dict[str, tf.TensorSpec]:
    """Returns the ids by name, int64 [batch] or [batch, any length] padded with -1."""
    specs = {
        feature.name: tf.TensorSpec(
            [None, None] if feature.kind == 'sequence' else [None], tf.int64, name=feature.name
        )
        for feature in features
    }
    return {**specs, 'domain': tf.TensorSpec([None], tf.int64, name='domain')}


def check_lengths(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns the inputs, after a check in the graph that all have as many rows as `domain`.

    Without it, a shorter `domain` would drop rows without an error.
    """
    rows = tf.shape(inputs['domain'])[0]
    checks = [
        tf.debugging.assert_equal(
            tf.shape(values)[0],
            rows,
            f'The inputs {name} and domain must have the same number of rows.',
        )
        for name, values in inputs.items()
        if name != 'domain'
    ]
    with tf.control_dependencies(checks):
        return {name: tf.identity(values) for name, values in inputs.items()}


def bound_ids(
    ids: Mapping[str, tf.Tensor], features: Sequence[Feature], num_domains: int
) -> dict[str, tf.Tensor]:
    """Replaces ids out of range by 0, and negative ids of sequences by -1, which is padding.

    Layers use 32 bits: this happens before any conversion, so that an id above 2^32 is not
    taken for a small one.

    Args:
        ids: Ids by name, int64.
        features: Features of the model.
        num_domains: Number of domain ids.
    """
    bounded = {'domain': _bounded(ids['domain'], num_domains)}
    for feature in features:
        values = _bounded(ids[feature.name], feature.size)
        if feature.kind == 'sequence':
            values = tf.where(ids[feature.name] < 0, tf.constant(-1, tf.int64), values)
        bounded[feature.name] = values
    return bounded


def _bounded(ids: tf.Tensor, size: int) -> tf.Tensor:
    return tf.where((ids >= 0) & (ids < size), ids, tf.zeros_like(ids))


class RawFeatureEncoder(tf.Module):
    """The vocabularies, bucket boundaries and domain names of a dataset as lookups.

    A value that is not in the vocabulary, a missing value ('' or NaN) and an unknown domain
    have the id 0.

    Args:
        dataset: Dataset whose vocabulary files the exported model will contain.
        features: Features of the model.
        domains: Domains that the model knows.
    """

    def __init__(self, dataset: Dataset, features: Sequence[Feature], domains: list[Domain]):
        super().__init__()
        self.features = list(features)
        vocabularies = {feature.vocabulary for feature in features if feature.vocabulary}
        self.tables = {
            name: _line_numbers(dataset.local_vocabulary(name)) for name in sorted(vocabularies)
        }
        self.domain_table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant([domain.name for domain in domains], tf.string),
                tf.constant([domain.id for domain in domains], tf.int64),
            ),
            default_value=0,
        )

    def __call__(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Ids, as the `encoded` signature takes them."""
        ids = {feature.name: self._ids(feature, raw[feature.name]) for feature in self.features}
        return {**ids, 'domain': self.domain_table.lookup(raw['domain'])}

    def _ids(self, feature: Feature, values: tf.Tensor) -> tf.Tensor:
        if feature.vocabulary is None:
            boundaries = tf.cast(tf.constant(np.array(feature.boundaries, np.float64)), NUMBER)
            values = tf.cast(values, NUMBER)
            buckets = 1 + tf.searchsorted(boundaries, values, side='right', out_type=tf.int64)
            return tf.where(tf.math.is_nan(values), tf.zeros_like(buckets), buckets)
        ids = self.tables[feature.vocabulary].lookup(values) + 1
        if feature.kind != 'sequence':
            return ids
        is_empty = values == ''
        order = tf.argsort(tf.cast(is_empty, tf.int32), axis=1, stable=True)  # values in front
        ids = tf.gather(tf.where(is_empty, tf.constant(-1, tf.int64), ids), order, batch_dims=1)
        return ids[:, : feature.length]


def _line_numbers(path: str) -> tf.lookup.StaticHashTable:
    """A table from the lines of a file to their numbers from 0; -1 for anything else."""
    if not os.path.getsize(path):  # TensorFlow rejects a table of no lines
        return tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(['']), tf.constant([-1], tf.int64)),
            default_value=-1,
        )
    return tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            path,
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        default_value=-1,
    )

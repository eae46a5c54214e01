"""The signatures of an exported model: their graphs, their descriptions and a check of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mdctr.errors import UserError
from mdctr.manifest import Feature
from trainer.data.examples import Examples
from trainer.data.prefetch import prefetch
from trainer.export.calendar_features import TIMESTAMP, CalendarFeatures
from trainer.export.golden_batch import RawValues
from trainer.export.preprocessing import (
    RawFeatureEncoder,
    bound_ids,
    check_lengths,
    encoded_signature,
    raw_signature,
    timestamp_signature,
)
from trainer.keras import tf

RAW, ENCODED, WITH_TIMESTAMP = 'serving_default', 'encoded', 'serving_timestamp'

_TOLERANCE = 1e-6
_BATCH = 8192

Inputs = dict[str, tf.Tensor]


def make_signatures(
    score: Callable[[Inputs], tf.Tensor],
    encoder: RawFeatureEncoder,
    calendar: CalendarFeatures,
    num_domains: int,
) -> dict[str, Any]:
    """Returns the concrete functions of the signatures, by name.

    Args:
        score: Scores [batch] of ids by name, all of them in range.
        encoder: Encoder of raw values.
        calendar: Calendar features; without any there is no signature with a timestamp.
        num_domains: Number of domain ids.
    """
    features = encoder.features

    def score_ids(ids: Inputs) -> Inputs:
        return {'score': score(bound_ids(check_lengths(ids), features, num_domains))}

    encoded = tf.function(
        score_ids, autograph=False, input_signature=[encoded_signature(features)]
    )

    def score_raw(raw: Inputs) -> Inputs:
        return encoded(encoder(check_lengths(raw)))

    def score_with_timestamp(raw: Inputs) -> Inputs:
        raw = check_lengths(raw)
        return encoded(encoder({**raw, **calendar(raw[TIMESTAMP])}))

    functions = {RAW: (score_raw, raw_signature(features))}
    if calendar.columns:
        functions[WITH_TIMESTAMP] = (
            score_with_timestamp,
            timestamp_signature(features, calendar),
        )
    return {
        ENCODED: encoded.get_concrete_function(),
        **{
            name: tf.function(
                function, autograph=False, input_signature=[specs]
            ).get_concrete_function()
            for name, (function, specs) in functions.items()
        },
    }


def describe_signatures(
    features: Sequence[Feature], calendar: CalendarFeatures
) -> dict[str, dict[str, str]]:
    """Returns a description of each input, by signature and name, for `model.json`."""
    zone = f'UTC{calendar.utc_offset:+g}'
    raw = {feature.name: _describe(feature) for feature in features}
    for name, column in calendar.columns.items():
        values = '0 to 23' if column == 'hour' else '0 (Monday) to 6'
        raw[name] = f"string [batch], {column} in {zone}, {values}; '' if missing"
    raw['domain'] = 'string [batch], name of the domain'
    encoded = {
        feature.name: 'int64 [batch, any length], ids, padded with -1'
        if feature.kind == 'sequence'
        else 'int64 [batch], ids'
        for feature in features
    }
    signatures = {RAW: raw, ENCODED: {**encoded, 'domain': 'int64 [batch], ids'}}
    if calendar.columns:
        others = {name: text for name, text in raw.items() if name not in calendar.columns}
        signatures[WITH_TIMESTAMP] = {
            **others,
            TIMESTAMP: 'float64 [batch], seconds since 1970-01-01 UTC, from which '
            f'{" and ".join(calendar.columns)} are computed in {zone}; NaN if missing',
        }
    return signatures


def check_signatures(signatures: dict[str, Any], examples: Examples) -> None:
    """Checks on a whole split that raw values get the scores of their ids.

    Args:
        signatures: Concrete functions of `make_signatures`.
        examples: The split, with the features of the model.

    Raises:
        UserError: The scores of a row differ.
    """
    raw_values, first = RawValues(examples), 0
    names = [*(feature.name for feature in examples.features), 'domain']
    for batch in prefetch(examples.in_order(_BATCH)):
        rows = len(batch['click'])
        ids = {name: batch[name].numpy().astype(np.int64) for name in names}
        ids['domain'] = np.full(rows, ids['domain'])
        by_raw_values = _score(signatures[RAW], raw_values(ids))
        by_ids = _score(signatures[ENCODED], ids)
        differs = ~(np.abs(by_raw_values - by_ids) <= _TOLERANCE)  # also where one is NaN
        if differs.any():
            row = int(np.argmax(differs))
            raise UserError(
                f'The exported model scores row {first + row} of {examples.split} '
                f'{by_raw_values[row]:.6f} by raw values and {by_ids[row]:.6f} by ids: the '
                f'vocabularies of {examples.dataset} do not match its examples, so build the '
                'dataset again.'
            )
        first += rows


def _score(signature: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    specs = signature.structured_input_signature[0][0]
    return signature(
        {name: tf.constant(values, specs[name].dtype) for name, values in inputs.items()}
    )['score'].numpy()


def _describe(feature: Feature) -> str:
    if feature.kind == 'sequence':
        return "string [batch, any length], most recent first, padded with ''"
    if feature.kind == 'numeric':
        return 'float64 [batch]; NaN if missing'
    return "string [batch]; '' if missing"

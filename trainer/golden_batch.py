"""A batch of raw values with what their ids must be, to test an exported model with."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from beam_jobs.dataset import Feature
from trainer.examples import Batch, Examples

_ROWS = 32
_UNSEEN = 'a value that no vocabulary has'


class GoldenBatch(NamedTuple):
    """Raw values by input name, as the serving signature takes them, and their ids."""

    raw: dict[str, np.ndarray]
    ids: dict[str, np.ndarray]


def make_golden_batch(dataset: str, examples: Examples) -> GoldenBatch:
    """Rows of every domain in turn, as many again of an unseen domain, and one row of which
    nothing is known.

    Args:
        dataset: the directory of the vocabularies.
        examples: a split of it; of each of its features the model takes one input.
    """
    rows = _some_rows(examples)
    domains = examples.manifest.domains
    names = {0: _UNSEEN, **{domain.id: domain.name for domain in domains}}
    raw, ids = {}, {}
    for feature in examples.features:
        values, known = _raw_values(dataset, feature, rows[feature.name])
        raw[feature.name], ids[feature.name] = values, known
    raw['domain'] = np.array([names[int(domain)] for domain in rows['domain']], object)
    ids['domain'] = rows['domain'].astype(np.int64)
    return GoldenBatch(raw, ids)


def _some_rows(examples: Examples) -> dict[str, np.ndarray]:
    parts: list[Batch] = []
    each = max(1, _ROWS // len(examples.domains))
    for domain in examples.domains[:_ROWS]:
        batch = next(examples.domain_epoch(domain, 0, each))
        parts.append({**batch, 'domain': np.full(len(batch['click']), domain, np.int32)})
    names = [*(feature.name for feature in examples.features), 'domain']
    rows = {name: np.concatenate([part[name] for part in parts]) for name in names}
    again = {**rows, 'domain': np.zeros_like(rows['domain'])}
    nothing = {name: np.full_like(values[:1], -1 if values.ndim == 2 else 0)
               for name, values in rows.items()}
    return {name: np.concatenate([rows[name], again[name], nothing[name]]) for name in names}


def _raw_values(dataset: str, feature: Feature,
                ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids = ids.astype(np.int64)
    if feature.kind == 'numeric':
        # A bucket's lower boundary is in it; the first bucket has values below all.
        boundaries = np.array(feature.boundaries, np.float32)
        lowest = boundaries[:1] - np.float32(1.0) if len(boundaries) else np.zeros(1)
        values = np.concatenate([[np.nan], lowest, boundaries]).astype(np.float32)[ids]
        buckets = 1 + np.searchsorted(boundaries, values, side='right')
        return values, np.where(np.isnan(values), 0, buckets)
    path = os.path.join(dataset, 'vocabulary', f'{feature.vocabulary}.txt')
    with open(path, encoding='utf-8', newline='\n') as file:
        lines = [line.rstrip('\n') for line in file]
    values: Any = np.array([_UNSEEN, *lines, ''], object)  # -1, padding, is the last
    return values[ids], ids

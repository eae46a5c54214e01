"""Raw values with the ids that they must have, to test an exported model with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mdctr.dataset import Dataset
from mdctr.manifest import Feature
from trainer.data.batching import Batch
from trainer.data.examples import Examples

_ROWS = 32
_UNSEEN = 'a value that no vocabulary has'


class GoldenBatch(NamedTuple):
    """Raw values by input name, as `serving_default` takes them, and their ids."""

    raw: dict[str, np.ndarray]
    ids: dict[str, np.ndarray]


def make_golden_batch(examples: Examples) -> GoldenBatch:
    """Rows of every domain, the same rows with an unseen domain, and one row of missing values.

    Every bucket of every numeric feature occurs, with the least and the greatest number in it.

    Args:
        examples: Split to take rows from, with the features of the model.
    """
    rows = _some_rows(examples)
    encoder = RawValues(examples)
    return GoldenBatch(
        encoder(rows), {name: values.astype(np.int64) for name, values in rows.items()}
    )


class RawValues:
    """Raw values that have the ids of given rows.

    A number is the least or the greatest number in its bucket, in turn.

    Args:
        examples: A split of the dataset, with the features of the model.
    """

    def __init__(self, examples: Examples):
        self._features = examples.features
        self._values = {
            feature.name: _values_of(examples.dataset, feature) for feature in examples.features
        }
        names = {domain.id: domain.name for domain in examples.manifest.domains}
        self._domains = np.array(
            [names.get(number, _UNSEEN) for number in range(max(names, default=0) + 1)], object
        )

    def __call__(self, ids: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Text as objects, [rows] or [rows, length], and numbers, float64 [rows].

        Args:
            ids: Ids by name, and `domain` [rows].
        """
        raw: dict[str, np.ndarray] = {}
        for feature in self._features:
            values, rows = self._values[feature.name], ids[feature.name]
            if feature.vocabulary is None:
                raw[feature.name] = values[rows, np.arange(len(rows)) % 2]
            else:
                raw[feature.name] = values[rows]  # padding, -1, is the last
        return {**raw, 'domain': self._domains[ids['domain']]}


def _values_of(dataset: Dataset, feature: Feature) -> np.ndarray:
    """Returns the values by id: text [size + 1], the last one '', or numbers [size, 2]."""
    if feature.vocabulary is None:
        return _numbers_of(feature)
    values: Any = [_UNSEEN, *dataset.vocabulary(feature.vocabulary), '']
    return np.array(values, object)


def _numbers_of(feature: Feature) -> np.ndarray:
    """Returns the bounds of the numbers of each bucket, float64 [size, 2]; NaN for id 0."""
    boundaries = np.array(feature.boundaries, np.float64)
    if not len(boundaries):
        return np.array([[np.nan, np.nan], [0.0, 0.0]])
    below = np.nextafter(boundaries, -np.inf)
    least = np.concatenate([[np.nan, below[0]], boundaries])
    greatest = np.concatenate([[np.nan], below, boundaries[-1:]])
    return np.stack([least, greatest], axis=1)


def _some_rows(examples: Examples) -> dict[str, np.ndarray]:
    parts: list[Batch] = []
    rows_per_domain = max(1, _ROWS // len(examples.domains))
    for domain in examples.domains[:_ROWS]:
        batch = next(examples.domain_epoch(domain, 0, rows_per_domain))
        parts.append({**batch, 'domain': np.full(len(batch['click']), domain, np.int32)})
    names = [*(feature.name for feature in examples.features), 'domain']
    rows = {name: np.concatenate([part[name] for part in parts]) for name in names}
    buckets = _bucket_rows(examples.features, rows)
    unseen = {**rows, 'domain': np.zeros_like(rows['domain'])}
    missing = {
        name: np.full_like(values[:1], -1 if values.ndim == 2 else 0)
        for name, values in rows.items()
    }
    return {
        name: np.concatenate([part[name] for part in (rows, buckets, unseen, missing)])
        for name in names
    }


def _bucket_rows(features: list[Feature], rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows in which every bucket of every numeric feature occurs twice in succession."""
    numeric = [feature for feature in features if feature.vocabulary is None]
    count = 2 * max((feature.size for feature in numeric), default=0)
    repeated = {name: values[np.arange(count) % len(values)] for name, values in rows.items()}
    for feature in numeric:
        repeated[feature.name] = (np.arange(count) // 2 % feature.size).astype(np.int32)
    return repeated

"""What an exported model is given: the ids of examples, or the raw values behind them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beam_jobs.dataset import Feature, Manifest, read_vocabulary, vocabulary_path
from beam_jobs.errors import UserError
from beam_jobs.exported import read_model_json

ENCODED, RAW = 'encoded', 'serving_default'


@dataclass(frozen=True)
class ModelInputs:
    """How the examples of a dataset become the inputs of one model.

    Attributes:
        signature: `encoded` where the model was trained on this very dataset, so that ids
            mean the same to both; else `serving_default`, which looks raw values up anew.
        features: of the model, as the dataset has them.
        dataset: the directory of the vocabularies.
        domains: the name of each domain id, '' for the unseen.
    """

    signature: str
    features: tuple[Feature, ...]
    dataset: str
    domains: tuple[str, ...]

    @staticmethod
    def of(dataset: str, manifest: Manifest, model: str) -> ModelInputs:
        """Reads what the model in the directory `model` wants.

        Raises:
            UserError: no exported model, or one with a feature that the dataset lacks.
        """
        described = read_model_json(model)
        known = {feature.name: feature for feature in manifest.features}
        for name in described['features']:
            if name not in known:
                raise UserError(f'The model {model} wants the feature {name}, and the dataset '
                                f'{dataset} has none: evaluate it on one that has it.')
        same = described['dataset']['fingerprint'] == manifest.fingerprint
        return ModelInputs(ENCODED if same else RAW,
                           tuple(known[name] for name in described['features']), dataset,
                           ('', *(domain.name for domain in manifest.domains)))

    def __call__(self, examples: pa.RecordBatch) -> dict[str, np.ndarray]:
        """Inputs by name, as the signature takes them, of `list<int64>` columns."""
        domain = single(examples, 'domain')
        ids = {feature.name: padded(examples, feature.name, feature.length)
               if feature.kind == 'sequence' else single(examples, feature.name)
               for feature in self.features}
        if self.signature == ENCODED:
            return {**ids, 'domain': domain}
        raw = {feature.name: raw_values(self.dataset, feature, ids[feature.name])
               for feature in self.features}
        return {**raw, 'domain': np.array(self.domains, object)[domain]}


def single(examples: pa.RecordBatch, name: str) -> np.ndarray:
    """A column of one id a row, int64 [rows]."""
    values = examples.column(examples.schema.get_field_index(name)).flatten().to_numpy()
    if len(values) != examples.num_rows:
        raise ValueError(f'The column {name} must have one value in every row.')
    return values


def padded(examples: pa.RecordBatch, name: str, length: int) -> np.ndarray:
    """A column of lists, int64 [rows, length], padded with -1."""
    result = np.full((examples.num_rows, length), -1, np.int64)
    place = examples.schema.get_field_index(name)
    if place < 0:  # no row of the batch has any
        return result
    column = examples.column(place)
    sizes = np.nan_to_num(column.value_lengths().to_numpy(zero_copy_only=False)).astype(int)
    row = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    values = column.flatten().to_numpy()
    kept = within < length
    result[row[kept], within[kept]] = values[kept]
    return result


def raw_values(dataset: str, feature: Feature, ids: np.ndarray) -> np.ndarray:
    """Values that the dataset has these ids for: text, '' for the id 0 and for padding; of a
    numeric feature a number inside the bucket, float32, NaN for the id 0."""
    if feature.kind == 'numeric':
        return _inside(feature.boundaries)[ids]
    return _texts(dataset, feature.vocabulary)[ids]


_CACHE: dict[str, tuple[tuple[int, int], np.ndarray]] = {}


def _texts(dataset: str, vocabulary: str) -> np.ndarray:
    path = vocabulary_path(dataset, vocabulary)
    file = os.stat(path)
    stamp = file.st_mtime_ns, file.st_size  # the vocabularies of a dataset that grows change
    if path not in _CACHE or _CACHE[path][0] != stamp:
        values = read_vocabulary(dataset, vocabulary)
        _CACHE[path] = stamp, np.array(['', *values, ''], object)  # -1 is the last
    return _CACHE[path][1]


def _inside(boundaries: list[float]) -> np.ndarray:
    """By bucket id, from 0: missing, below the first boundary, between, above the last."""
    at = np.array(boundaries, np.float32)
    if not len(at):
        return np.array([np.nan, 0.0], np.float32)
    below = np.nextafter(at[:1], np.float32(-np.inf))
    middle = np.clip((at[:-1].astype(np.float64) + at[1:]) / 2, at[:-1],
                     np.maximum(np.nextafter(at[1:], np.float32(-np.inf)), at[:-1]))
    return np.concatenate([[np.nan], below, middle, at[-1:]]).astype(np.float32)

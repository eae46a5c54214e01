"""What an exported model is given: the ids of examples, or the raw values behind them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.exported_model import read_model_json
from mdctr.manifest import Feature, Manifest

ENCODED, RAW = 'encoded', 'serving_default'


@dataclass(frozen=True)
class ModelInputs:
    """How the examples of a dataset become the inputs of one model.

    Attributes:
        signature: `encoded` where the model was trained on this very dataset, so that ids
            mean the same to both; else `serving_default`, which looks raw values up anew.
        features: of the model, as the dataset has them.
        dataset: the directory of the version of the dataset.
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
                raise UserError(
                    f'The model {model} wants the feature {name}, and the dataset '
                    f'{dataset} has none: evaluate it on one that has it.'
                )
        same = described['dataset']['fingerprint'] == manifest.fingerprint
        return ModelInputs(
            ENCODED if same else RAW,
            tuple(known[name] for name in described['features']),
            dataset,
            ('', *(domain.name for domain in manifest.domains)),
        )

    @property
    def columns(self) -> list[str]:
        """The columns of the example files that scoring needs."""
        names = [feature.name for feature in self.features]
        return [*names, 'domain', 'click', 'user_key']

    def __call__(self, examples: pa.RecordBatch) -> dict[str, np.ndarray]:
        """Inputs by name, as the signature takes them, of examples with `columns`."""
        domain = single(examples, 'domain')
        ids = {
            feature.name: padded(examples, feature.name, feature.length)
            if feature.kind == 'sequence'
            else single(examples, feature.name)
            for feature in self.features
        }
        if self.signature == ENCODED:
            return {**ids, 'domain': domain}
        raw = {
            feature.name: raw_values(self.dataset, feature, ids[feature.name])
            for feature in self.features
        }
        return {**raw, 'domain': np.array(self.domains, object)[domain]}


def single(examples: pa.RecordBatch, name: str) -> np.ndarray:
    """A column of one id a row, int [rows]."""
    return examples.column(examples.schema.get_field_index(name)).to_numpy()


def padded(examples: pa.RecordBatch, name: str, length: int) -> np.ndarray:
    """A column of lists, int64 [rows, length], padded with -1."""
    result = np.full((examples.num_rows, length), -1, np.int64)
    column = examples.column(examples.schema.get_field_index(name))
    sizes = column.value_lengths().to_numpy()
    row = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    values = column.flatten().to_numpy()
    kept = within < length
    result[row[kept], within[kept]] = values[kept]
    return result


def raw_values(dataset: str, feature: Feature, ids: np.ndarray) -> np.ndarray:
    """Values that the dataset has these ids for: text, '' for the id 0 and for padding; of a
    numeric feature a number inside the bucket, float64, NaN for the id 0."""
    if feature.kind == 'numeric':
        return _inside(feature.boundaries)[ids]
    return _texts(dataset, feature.vocabulary)[ids]


@functools.cache
def _texts(dataset: str, vocabulary: str | None) -> np.ndarray:
    assert vocabulary is not None, 'only numeric features have none'
    values = open_dataset(dataset).vocabulary(vocabulary)
    return np.array(['', *values, ''], object)  # -1 is the last


def _inside(boundaries: list[float]) -> np.ndarray:
    """By bucket id, from 0: missing, below the first boundary, between, above the last."""
    at = np.array(boundaries, np.float64)
    if not len(at):
        return np.array([np.nan, 0.0])
    below = np.nextafter(at, -np.inf)
    # Exports of earlier versions take float32, to which this must not round up.
    below[0] = np.nextafter(np.float32(at[0]), np.float32(-np.inf))
    middle = np.clip(at[:-1] / 2 + at[1:] / 2, at[:-1], below[1:])
    return np.concatenate([[np.nan], below[:1], middle, at[-1:]])

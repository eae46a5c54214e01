"""Datasets of random ids, for benchmarks."""

import os

import numpy as np
import pyarrow.parquet as pq

from beam_jobs.dataset import Domain, Feature, Manifest, Rows, Split, split_directory
from beam_jobs.examples import ExampleFile, encode_features


def made_up_manifest(features: list[Feature], domains: int) -> Manifest:
    """Of a dataset with one split, `train`."""
    return Manifest('made-up', 'made-up', features,
                    [Domain(i, f'd{i}') for i in range(1, domains + 1)],
                    {'train': Split(('2024-01-01', '2024-01-01'), {}, {})},
                    Rows(0, 0, 0, 0, 0, 0, 0))


def write_rows(directory: str, ids: np.ndarray, domain: np.ndarray, click: np.ndarray,
               user_key: np.ndarray) -> None:
    """Writes the split `train` of a dataset, in one file.

    Args:
        directory: of the dataset.
        ids: of the features f0, f1, ..., [rows, features].
        domain: of each row, ascending.
        click, user_key: of each row.
    """
    folder = split_directory(directory, 'train')
    with ExampleFile(os.path.join(folder, 'part-00000-of-00001.tfrecord')) as file:
        file.write([encode_features({
            **{f'f{i}': column for i, column in enumerate(ids.T)}, 'click': click,
            'user_key': user_key, 'domain': domain,
            'timestamp': np.zeros(len(domain), np.int64)})])
    pq.write_table(file.index(domain), os.path.join(folder, 'index.parquet'))

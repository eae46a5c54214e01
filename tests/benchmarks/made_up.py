"""Datasets of random ids, for benchmarks."""

import numpy as np
import pyarrow as pa

from beam_jobs.examples.writer import write_examples
from mdctr import storage
from mdctr.example_files import example_file_name
from mdctr.manifest import Domain, Feature, Manifest, Rows, Split, split_directory


def made_up_manifest(features: list[Feature], domains: int) -> Manifest:
    """Of a dataset with one split, `train`."""
    return Manifest(
        'made-up',
        'made-up',
        features,
        [Domain(i, f'd{i}') for i in range(1, domains + 1)],
        {'train': Split(('2024-01-01', '2024-01-01'), {}, {})},
        Rows(0, 0, 0, 0, 0, 0, 0),
    )


def write_rows(
    directory: str, ids: np.ndarray, domain: np.ndarray, click: np.ndarray, user_key: np.ndarray
) -> None:
    """Writes the split `train` of a dataset, in one file.

    Args:
        directory: of the dataset.
        ids: of the features f0, f1, ..., [rows, features].
        domain: of each row, ascending.
        click, user_key: of each row.
    """
    rows = pa.table(
        {
            'domain': pa.array(domain, pa.int32()),
            'timestamp': np.zeros(len(domain), np.int64),
            'user_key': user_key,
            'click': pa.array(click, pa.int8()),
            **{f'f{i}': pa.array(column, pa.int32()) for i, column in enumerate(ids.T)},
        }
    )
    path = storage.join(split_directory(directory, 'train'), example_file_name(0, 1))
    with storage.atomic_file(path) as file:
        write_examples(file, domain, lambda first, last: rows.slice(first, last - first))

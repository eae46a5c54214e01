"""Reads a dataset back, for tests: one dictionary an example."""

import pyarrow.parquet as pq

from mdctr import storage
from mdctr.dataset import open_dataset


def read_examples(directory: str, split: str) -> list[dict[str, list[int]]]:
    """The examples of `split`, every feature a list of integers, in the order of the files."""
    examples = []
    for path in open_dataset(directory).example_files(split):
        with storage.open_file(path) as file:
            rows = pq.read_table(file).to_pylist()
        examples += [
            {name: value if isinstance(value, list) else [value] for name, value in row.items()}
            for row in rows
        ]
    return examples

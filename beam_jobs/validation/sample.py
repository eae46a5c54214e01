"""The sampled rows of a split, as `beam_jobs.build.statistics` keeps them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.build.statistics import sample_path
from beam_jobs.validation.intervals import Floats, Ints
from mdctr.dataset import Dataset
from mdctr.days import days_of

EMPTY = -1  # in the place of the ids of an empty list


@dataclass(frozen=True)
class Sample:
    """Rows of a split.

    Within a domain every row of the split is equally likely to be in the sample, and `weight`
    rows of the split stand behind it.

    Attributes:
        split: Name of the split.
        columns: `list<int64>` columns, by name.
        domain: Id of each row's domain, `int64[rows]`.
        user_key: Key of each row's user, `int64[rows]`.
        user: Number of each row's user in this sample, `int64[rows]`.
        day: Day number of each row, `int64[rows]`.
        timestamp: Seconds, `int64[rows]`.
        click: 0 or 1, `int64[rows]`.
        weight: Number of rows of the split for each row of the sample, `float64[rows]`.
    """

    split: str
    columns: dict[str, pa.ListArray]
    domain: Ints
    user_key: Ints
    user: Ints
    day: Ints
    timestamp: Ints
    click: Ints
    weight: Floats

    @property
    def rows(self) -> int:
        """Number of rows of the sample."""
        return len(self.domain)

    def values(self, name: str) -> tuple[Ints, Ints]:
        """The distinct values of each row.

        Returns:
            Rows and values, both `int64[n]`; an empty list has the value `EMPTY`.
        """
        column = self.columns[name]
        lengths = np.diff(column.offsets.to_numpy().astype(np.int64))
        rows = np.repeat(np.arange(self.rows), np.maximum(lengths, 1))
        values = np.full(len(rows), EMPTY, np.int64)
        values[(lengths > 0)[rows]] = column.flatten().to_numpy()
        if len(values) > self.rows:
            size = values.max() + 2
            cells = np.unique(rows * size + values + 1)
            rows, values = cells // size, cells % size - 1
        return rows, values

    def has(self, name: str, value: int, cumulative: bool = False) -> np.ndarray:
        """Which rows have a value; `bool[rows]`.

        Args:
            name: Feature.
            value: Its value.
            cumulative: Whether values from 1 up to `value` count as well.
        """
        rows, values = self.values(name)
        found = (values >= 1) & (values <= value) if cumulative else values == value
        return np.bincount(rows[found], minlength=self.rows) > 0


def read_sample(dataset: Dataset, split: str) -> Sample:
    """Reads the sample of a split of a dataset.

    Args:
        dataset: The dataset.
        split: Name of the split.

    Raises:
        UserError: The dataset has no sample of the split, or it has changed since it was built.
    """
    manifest = dataset.manifest
    content = dataset.read_file(sample_path('', split))
    table = pq.read_table(pa.BufferReader(content)).combine_chunks()
    columns = {name: table[name].chunk(0) for name in table.column_names}
    single = {
        name: columns[name].flatten().to_numpy()
        for name in ('domain', 'timestamp', 'click', 'user_key')
    }
    examples = manifest.splits[split].examples
    ids = {domain.name: domain.id for domain in manifest.domains}
    domains = len(ids) + 1
    total = np.zeros(max(domains, int(single['domain'].max(initial=0)) + 1))
    for name, count in examples.items():
        total[ids.get(name, 0)] += count
    sampled = np.bincount(single['domain'], minlength=len(total))
    utc_offset = manifest.config.get('utc_offset', 0.0)
    return Sample(
        split,
        columns,
        single['domain'],
        single['user_key'],
        np.unique(single['user_key'], return_inverse=True)[1],
        days_of(single['timestamp'], utc_offset),
        single['timestamp'],
        single['click'],
        (total / np.maximum(sampled, 1))[single['domain']],
    )

"""A reader of tables in memory, for tests; and a log drawn at random."""

import atexit
import itertools
import os
import tempfile
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from beam_jobs.arrow_files import read_arrow, write_arrow
from beam_jobs.readers.base import RawBatch, no_rejects


class TableReader:
    """Gives the rows of a table, in shards and batches of chosen sizes.

    Pickled copies, of which a pipeline has dozens, map the table from one temporary file: Beam
    compresses what it pickles, which took a third of the time of a build.
    """

    def __init__(
        self,
        table: pa.Table,
        shards: int = 2,
        batch: int = 1000,
        rejected: pa.RecordBatch | None = None,
    ):
        if 'source' not in table.column_names:
            table = table.append_column('source', pa.array(['log.csv'] * table.num_rows))
        if 'line' not in table.column_names:
            table = table.append_column('line', pa.array(range(1, table.num_rows + 1)))
        self._table, self._shards, self._batch = table, shards, batch
        self._rejected = rejected
        self._path: str | None = None

    def __getstate__(self) -> dict:
        if self._path is None:
            handle, self._path = tempfile.mkstemp(suffix='.arrow')
            os.close(handle)
            atexit.register(os.remove, self._path)
            write_arrow(self._path, self._table)
        return self.__dict__ | {'_table': None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._table = read_arrow(state['_path'])

    def files(self) -> list[str]:
        return []

    def shards(self) -> list[tuple[int, int]]:
        ends = np.linspace(0, self._table.num_rows, self._shards + 1).astype(int)
        return [(int(a), int(b)) for a, b in itertools.pairwise(ends)]

    def read(self, shard: tuple[int, int]) -> Iterator[RawBatch]:
        begin, end = shard
        rows = self._table.slice(begin, end - begin).combine_chunks()
        for batch in rows.to_batches(self._batch):
            yield RawBatch(batch, no_rejects())
        if self._rejected is not None and begin == 0:
            yield RawBatch(rows.to_batches(1)[0].slice(0, 0), self._rejected)

"""A reader of your own: impressions in a SQLite database.

    mdctr dataset build shops.yaml --set dataset.reader=custom_reader:SqliteReader \\
        --set "dataset.inputs=[impressions.db]"

The module is found in the current directory, or wherever Python finds installed packages.
"""

import sqlite3
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pydantic import Field

from beam_jobs.readers.base import RawBatch, Reader, Shard, need_inputs, raw_batch
from beam_jobs.readers.raw_files import base_name, expand
from mdctr.settings import Settings


class SqliteOptions(Settings):
    """Options of the reader, in `dataset.reader_options`."""

    table: str = Field(
        default='impressions',
        pattern=r'^\w+$',
        description='Table with the columns user_id, item_id, timestamp and click, and those '
        'of domains and features.',
    )
    rows_per_shard: int = Field(
        default=1_000_000, ge=1, description='Maximum number of rows that one worker reads.'
    )


class SqliteReader(Reader):
    """Reads a table, in ranges of its row numbers, which workers read in parallel."""

    name = 'sqlite'
    Options = SqliteOptions

    def files(self) -> list[str]:
        return expand(need_inputs(self.inputs, self.name, 'the database file'))

    def shards(self) -> list[Shard]:
        step = self.options.rows_per_shard
        return [
            Shard(path, begin=first, end=first + step)
            for path in self.files()
            for first in range(0, self._last_row(path) + 1, step)
        ]

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        with sqlite3.connect(shard.path) as database:
            cursor = database.execute(
                f'SELECT rowid AS line, * FROM {self.options.table} '
                'WHERE rowid >= ? AND rowid < ? ORDER BY rowid',
                (shard.begin, shard.end),
            )
            names = [column[0] for column in cursor.description]
            while rows := cursor.fetchmany(100_000):
                columns = dict(zip(names, zip(*rows, strict=True), strict=True))
                lines = np.array(columns.pop('line'), np.int64)
                yield raw_batch(
                    base_name(shard.path),
                    lines,
                    {name: pa.array(values) for name, values in columns.items()},
                )

    def _last_row(self, path: str) -> int:
        with sqlite3.connect(path) as database:
            query = f'SELECT max(rowid) FROM {self.options.table}'
            (last,) = database.execute(query).fetchone()
        return last or 0

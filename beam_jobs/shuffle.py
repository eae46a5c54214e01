"""The log, brought together by user: every user's rows in one bucket.

Rows go to files rather than through the runner: a shard's rows are written, bucket by bucket,
to one file, and only references to its parts are grouped. So memory stays flat however long
the log is, and any runner whose workers share a file system can build a dataset. A shard that
is read twice (a retry) writes the same file over itself.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from beam_jobs.atomic import Temporary
from beam_jobs.draws import hash_strings

_ROWS_IN_MEMORY = 1 << 18


class Part(NamedTuple):
    """Rows of one bucket, as an Arrow stream inside a file."""

    path: str
    offset: int
    bytes: int
    rows: int


def buckets_of(users: pa.Array, buckets: int) -> np.ndarray:
    """The bucket of each row's user, `int64[rows]` in [0, buckets)."""
    coded = users.dictionary_encode()
    of_user = (hash_strings(coded.dictionary) % np.uint64(buckets)).astype(np.int64)
    return of_user[coded.indices.to_numpy()]


class Spill:
    """Writes batches to one file, the rows of a bucket side by side; a context manager.

    Attributes:
        parts: (bucket, part) pairs, complete once the context is left.
    """

    def __init__(self, path: str, schema: pa.Schema, buckets: int, key: str):
        """Args:
            path: of the file, which appears when the context is left without an error.
            schema: of the batches.
            buckets: how many there are.
            key: the string column whose hash is the bucket.
        """
        self.parts: list[tuple[int, Part]] = []
        self._path, self._schema, self._buckets, self._key = path, schema, buckets, key
        self._pending: list[pa.RecordBatch] = []
        self._rows = 0

    def __enter__(self) -> 'Spill':
        self._file = Temporary(self._path)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            if kind is None:
                self._flush()
        except BaseException:
            self._file.close(keep=False)
            raise
        self._file.close(keep=kind is None)

    def write(self, batch: pa.RecordBatch) -> None:
        self._pending.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _ROWS_IN_MEMORY:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        table = pa.Table.from_batches(self._pending, self._schema).combine_chunks()
        self._pending, self._rows = [], 0
        buckets = buckets_of(table.column(self._key).chunk(0), self._buckets)
        order = np.argsort(buckets, kind='stable')
        table = table.take(pa.array(order))
        sizes = np.bincount(buckets, minlength=self._buckets)
        ends = np.cumsum(sizes)
        for bucket in np.flatnonzero(sizes):
            rows = table.slice(ends[bucket] - sizes[bucket], sizes[bucket])
            self.parts.append((int(bucket), self._write_part(rows)))

    def _write_part(self, rows: pa.Table) -> Part:
        offset = self._file.file.tell()
        with pa.ipc.new_stream(self._file.file, self._schema) as stream:
            stream.write_table(rows)
        return Part(self._path, offset, self._file.file.tell() - offset, rows.num_rows)


def load(parts: Iterable[Part]) -> pa.Table:
    """The rows of `parts`, in a fixed order."""
    tables = []
    for part in sorted(parts):
        with open(part.path, 'rb') as file:
            file.seek(part.offset)
            tables.append(pa.ipc.open_stream(file.read(part.bytes)).read_all())
    return pa.concat_tables(tables).combine_chunks()

"""The log, brought together by user: every user's rows in one bucket.

Rows go to files rather than through the runner: a shard's rows are written, bucket by bucket,
to one file, and only references to its parts are grouped. So memory stays flat however long
the log is, and any runner whose workers share a file system can build a dataset. A shard that
is read twice (a retry) writes the same file over itself.
"""

import os
import uuid
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

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


def write_arrow(path: str, table: pa.Table) -> None:
    """Writes `table` as an Arrow file, in one step, so that a retry does no harm."""
    temporary = Temporary(path)
    try:
        with pa.ipc.new_file(temporary.file, table.schema) as file:
            file.write_table(table)
    except BaseException:
        temporary.close(keep=False)
        raise
    temporary.close(keep=True)


def read_arrow(path: str) -> pa.Table:
    """The table of `write_arrow`, mapped rather than read: workers share its pages."""
    return pa.ipc.open_file(pa.memory_map(path)).read_all()


class Temporary:
    """A file that appears under its name only when it is closed to be kept."""

    def __init__(self, path: str):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._path, self._temporary = path, f'{path}.{uuid.uuid4().hex}.tmp'
        self.file = open(self._temporary, 'wb')  # noqa: SIM115 (closed by `close`)

    def close(self, keep: bool) -> None:
        """Puts the file in its place, or removes it."""
        try:
            self.file.close()  # writes what is left: a full disk can show itself here
            if keep:
                os.replace(self._temporary, self._path)
        except OSError:
            if keep:
                raise
        finally:
            if os.path.exists(self._temporary):
                os.remove(self._temporary)


def write_text(path: str, text: str) -> None:
    """Writes a UTF-8 file in one step."""
    temporary = Temporary(path)
    try:
        temporary.file.write(text.encode())
    except BaseException:
        temporary.close(keep=False)
        raise
    temporary.close(keep=True)

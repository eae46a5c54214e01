"""Shuffles rows by bucket: all rows with the same key, such as those of a user, go to one.

Rows pass through the runner's own shuffle (`GroupByKey`) as compressed Arrow streams. A runner
may group them in any order, and repeat what failed; so every chunk of rows says where it
belongs, and a bucket's chunks are put in this order before anything is computed from them.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from beam_jobs.rows.random_draws import hash_strings

_ROWS_IN_MEMORY = 1 << 18
# Level 1 of zstd takes as long as lz4 for such rows, and leaves 38 bytes of 67.
_COMPRESSION = ('zstd', 1)

# Some rows of a bucket: the number of the shard that they were read from, the number of the
# chunk in it, and the rows as an Arrow stream.
Chunk = tuple[int, int, bytes]


def buckets_of(keys: pa.Array, buckets: int) -> np.ndarray:
    """The bucket of each key, `int64[rows]` in [0, buckets)."""
    encoded = keys.dictionary_encode()
    bucket = (hash_strings(encoded.dictionary) % np.uint64(buckets)).astype(np.int64)
    return bucket[encoded.indices.to_numpy()]


def encode_rows(rows: pa.Table) -> bytes:
    """The rows as a compressed Arrow stream."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec(*_COMPRESSION))
    with pa.ipc.new_stream(sink, rows.schema, options=options) as stream:
        stream.write_table(rows)
    return sink.getvalue().to_pybytes()


def decode_rows(data: bytes) -> pa.Table:
    """The rows that `encode_rows` encoded."""
    return pa.ipc.open_stream(pa.py_buffer(data)).read_all()


def concatenate(chunks: Iterable[Chunk]) -> pa.Table:
    """The rows of a bucket's chunks, in the order of shards and chunks."""
    tables = [decode_rows(data) for _, _, data in sorted(chunks)]
    return pa.concat_tables(tables).combine_chunks()


class BucketSplitter:
    """Splits the rows of a shard into chunks by bucket."""

    def __init__(self, shard: int, schema: pa.Schema, buckets: int, key: str):
        """Args:
        shard: Number of the shard.
        schema: Schema of the rows.
        buckets: Number of buckets.
        key: The string column whose hash is the bucket.
        """
        self._shard, self._schema, self._buckets, self._key = shard, schema, buckets, key
        self._pending: list[pa.RecordBatch] = []
        self._rows = self._chunks = 0

    def add(self, batch: pa.RecordBatch) -> Iterator[tuple[int, Chunk]]:
        """Adds rows; yields buckets with chunks once many rows are pending."""
        self._pending.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _ROWS_IN_MEMORY:
            yield from self.finish()

    def finish(self) -> Iterator[tuple[int, Chunk]]:
        """Yields buckets with chunks of all rows that are pending."""
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
            yield int(bucket), (self._shard, self._chunks, encode_rows(rows))
            self._chunks += 1

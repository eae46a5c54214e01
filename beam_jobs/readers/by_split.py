"""A log whose splits are in files of their own, read by one reader for each split."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from beam_jobs.readers.base import NoOptions, RawBatch, Reader


class SplitShard(NamedTuple):
    """A shard of one split's files.

    Attributes:
        split: Name of the split.
        shard: Shard of that split's reader.
    """

    split: str
    shard: Any


class SplitReader(Reader):
    """Reads the inputs of each split; the column `input_split` has its name.

    Args:
        readers: Reader of each split, by name.
    """

    def __init__(self, readers: Mapping[str, Reader]):
        super().__init__(None, NoOptions(), '')
        self.readers = dict(readers)

    @property
    def has_timestamps(self) -> bool:
        return all(reader.has_timestamps for reader in self.readers.values())

    def files(self) -> list[str]:
        return [path for reader in self.readers.values() for path in reader.files()]

    def shards(self) -> list[Any]:
        return [
            SplitShard(split, shard)
            for split, reader in self.readers.items()
            for shard in reader.shards()
        ]

    def read(self, shard: Any) -> Iterator[RawBatch]:
        for batch in self.readers[shard.split].read(shard.shard):
            names = [*batch.rows.schema.names, 'input_split']
            split = pa.array([shard.split] * batch.rows.num_rows, pa.string())
            rows = pa.RecordBatch.from_arrays([*batch.rows.columns, split], names=names)
            yield batch._replace(rows=rows)

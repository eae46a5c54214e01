"""The rows of a split in the order of time, without holding more than where each of them is."""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Iterator

import numpy as np

from trainer.examples import Examples, Range
from trainer.tfrecords import (
    Columns,
    decode,
    decode_timestamps,
    read_records,
    record_at,
)

_PIECE = 8192  # timestamps decoded at once
_FRAME = 16  # bytes of a TFRecord that are not its record


class TimeOrder:
    """The rows of one split, all domains together, by their timestamps.

    Rows of one time are in random order, since files hold them domain after domain. Takes 14
    bytes a row; what a row holds is read when it is asked for.

    Args:
        examples: whose rows these are.
        split: one of its splits.
        seed: of the order of rows of one time.

    Attributes:
        domain: of each row, int32 [rows].
        timestamp: of each row, ascending int64 [rows].
    """

    def __init__(self, examples: Examples, split: str, seed: int):
        self._features = examples.features
        ranges = examples.ranges(split)
        self._paths = sorted({each.path for some in ranges.values() for each in some})
        number = {path: place for place, path in enumerate(self._paths)}
        domain, file, offset, timestamp = [], [], [], []
        for domain_id, each in ((d, each) for d in sorted(ranges) for each in ranges[d]):
            domain.append(np.full(each.examples, domain_id, np.int32))
            file.append(np.full(each.examples, number[each.path], np.int16))
            for offsets, timestamps in _scanned(each):
                offset.append(offsets)
                timestamp.append(timestamps)
        timestamps = _joined(timestamp, np.int64)
        ties = np.random.Generator(np.random.Philox(np.random.SeedSequence(
            [seed, _days_since(examples, split)]))).permutation(len(timestamps))
        order = np.lexsort((ties, timestamps))
        self.timestamp = timestamps[order]
        self.domain = _joined(domain, np.int32)[order]
        self._file = _joined(file, np.int16)[order]
        self._offset = _joined(offset, np.int64)[order]
        self._mapped: dict[int, mmap.mmap] = {}

    def __len__(self) -> int:
        return len(self.domain)

    def read(self, rows: np.ndarray) -> list[bytes]:
        """The serialized examples of the rows with these numbers, in their order."""
        files, offsets = self._file[rows].tolist(), self._offset[rows].tolist()
        return [record_at(self._data(file), offset)
                for file, offset in zip(files, offsets, strict=True)]

    def take(self, rows: np.ndarray) -> Columns:
        """Reads and decodes the rows with these numbers, in their order."""
        return decode(self.read(rows), self._features, self._paths[0])

    def _data(self, number: int) -> mmap.mmap:
        if number not in self._mapped:
            with open(self._paths[number], 'rb') as file:
                self._mapped[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._mapped[number]


def _scanned(each: Range) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Where the records of a range begin, and their timestamps."""
    records = read_records(each.path, each.offset, each.bytes)
    begin = each.offset
    while piece := list(itertools.islice(records, _PIECE)):
        ends = begin + np.cumsum([_FRAME + len(record) for record in piece])
        yield (np.concatenate([[begin], ends[:-1]]).astype(np.int64),
               decode_timestamps(piece, each.path))
        begin = int(ends[-1])


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts])


def _days_since(examples: Examples, split: str) -> int:
    """What tells the split from others, wherever it stands among them."""
    return int(np.datetime64(examples.manifest.splits[split].days[0]).astype(np.int64))

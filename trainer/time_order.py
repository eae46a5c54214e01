"""The rows of a split in the order of time, without holding more than where each of them is."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

from trainer.examples import Examples, Range
from trainer.tfrecords import (
    Columns,
    Records,
    decode,
    decode_parts,
    decode_timestamps,
    grouped,
    read_records,
    record_at,
)

_PIECE = 8192  # timestamps decoded at once
_HEAD = 12  # bytes of a TFRecord before its record


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
        by_domain = examples.ranges(split)
        ranges = [(domain, each) for domain in sorted(by_domain) for each in by_domain[domain]]
        self._paths = sorted({each.path for _, each in ranges})
        number = {path: place for place, path in enumerate(self._paths)}
        sizes = [each.examples for _, each in ranges]
        domain = np.repeat(np.array([domain for domain, _ in ranges], np.int32), sizes)
        file = np.repeat(np.array([number[each.path] for _, each in ranges], np.int16), sizes)
        offsets, timestamps = _scanned([each for _, each in ranges])
        ties = np.random.Generator(np.random.Philox(np.random.SeedSequence(
            [seed, _days_since(examples, split)]))).permutation(len(timestamps))
        order = np.lexsort((ties, timestamps))
        self.timestamp, self.domain = timestamps[order], domain[order]
        self._file, self._offset = file[order], offsets[order]
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
        return decode(Records.of(self.read(rows), self._paths[0]), self._features)

    def _data(self, number: int) -> mmap.mmap:
        if number not in self._mapped:
            with open(self._paths[number], 'rb') as file:
                self._mapped[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._mapped[number]


def _scanned(ranges: list[Range]) -> tuple[np.ndarray, np.ndarray]:
    """Where the records of all ranges begin, and their timestamps, one range after another."""
    offsets = [np.zeros(0, np.int64)]

    def blocks() -> Iterator[Records]:
        for each in ranges:
            for offset, records in read_records(each.path, each.offset, each.bytes):
                offsets.append(records.begin + (offset - _HEAD))
                yield records
    timestamps = [decode_parts(group, decode_timestamps)
                  for group in grouped(blocks(), _PIECE)]
    return np.concatenate(offsets), np.concatenate([np.zeros(0, np.int64), *timestamps])


def _days_since(examples: Examples, split: str) -> int:
    """What tells the split from others, wherever it stands among them."""
    return int(np.datetime64(examples.manifest.splits[split].days[0]).astype(np.int64))

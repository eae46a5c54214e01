"""Byte ranges of TFRecord files, decoded to columns of ids."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from beam_jobs.dataset import Feature
from beam_jobs.errors import UserError
from trainer.example_columns import PADDING, Parsed, read_columns
from trainer.keras import tf

_HEADER = struct.Struct('<Q')
_BLOCK = 1 << 21

Decoded = TypeVar('Decoded')


@dataclass(frozen=True)
class Columns:
    """Decoded rows; `take` copies some of them, in the order asked for.

    Attributes:
        singles: one id a feature, int32 [rows, features], in the features' order.
        sequences: ids by feature name, int32 [rows, length], padded with -1.
        click: int8 [rows].
        user_key: int64 [rows].
    """

    singles: np.ndarray
    sequences: dict[str, np.ndarray]
    click: np.ndarray
    user_key: np.ndarray

    def __len__(self) -> int:
        return len(self.click)

    def take(self, rows: np.ndarray | slice) -> Columns:
        return Columns(self.singles[rows],
                       {name: ids[rows] for name, ids in self.sequences.items()},
                       self.click[rows], self.user_key[rows])

    @staticmethod
    def concatenate(parts: list[Columns]) -> Columns:
        return Columns(np.concatenate([part.singles for part in parts]),
                       {name: np.concatenate([part.sequences[name] for part in parts])
                        for name in parts[0].sequences},
                       np.concatenate([part.click for part in parts]),
                       np.concatenate([part.user_key for part in parts]))


def bytes_per_row(features: list[Feature]) -> int:
    """Of decoded rows in memory."""
    return 4 * sum(feature.length for feature in features) + 9


@dataclass(frozen=True)
class Records:
    """Records of TFRecord files.

    Attributes:
        path: of the file that they are of; of several files, of one of them.
        data: bytes that hold them, in their frames or not.
        begin: of each of them there, int64 [records].
        end: of each of them there, int64 [records].
    """

    path: str
    data: bytes
    begin: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.begin)

    def __getitem__(self, place: int) -> bytes:
        return self.data[self.begin[place]:self.end[place]]

    def take(self, rows: slice) -> Records:
        return Records(self.path, self.data, self.begin[rows], self.end[rows])

    @staticmethod
    def of(records: Sequence[bytes], path: str) -> Records:
        """Records that have been read one by one, ready for `decode`."""
        size = np.fromiter(map(len, records), np.int64, len(records))
        end = np.cumsum(size)
        return Records(path, b''.join([*records, bytes(PADDING)]), end - size, end)

    @staticmethod
    def joined(parts: Sequence[Records]) -> Records:
        """The records of several blocks, which stand side by side there, ready for `decode`."""
        if len(parts) == 1 and len(parts[0].data) >= parts[0].end[-1:].sum() + PADDING:
            return parts[0]
        data, begin, end, place = [], [], [], 0
        for part in parts:
            if len(part):
                first, last = int(part.begin[0]), int(part.end[-1])
                data.append(memoryview(part.data)[first:last])
                begin.append(part.begin + (place - first))
                end.append(part.end + (place - first))
                place += last - first
        none = np.zeros(0, np.int64)
        return Records(parts[0].path, b''.join([*data, bytes(PADDING)]),
                       np.concatenate([none, *begin]), np.concatenate([none, *end]))


def read_records(path: str, offset: int, size: int) -> Iterator[tuple[int, Records]]:
    """The records of `size` bytes of a TFRecord file from `offset` on, block after block, each
    behind the offset in the file at which its bytes begin.

    Raises:
        UserError: the range is not a whole number of records.
    """
    with open(path, 'rb') as file:
        file.seek(offset)
        data, left, head = b'', size, _HEADER.unpack_from
        while left or data:
            block = file.read(min(_BLOCK, left))
            if not block:
                raise _damaged(path)
            left -= len(block)
            there = len(data) + len(block)
            data = b''.join([data, block, bytes(PADDING)])
            begin, place, room = [], 0, there - 12
            while place <= room:
                begin.append(place)
                place += 16 + head(data, place)[0]
            if place > there:  # the last one is not all there
                place = begin.pop()
            if begin:
                found = np.array([*begin, place], np.int64)
                yield offset, Records(path, data, found[:-1] + 12, found[1:] - 4)
            offset, data = offset + place, data[place:there]


def grouped(blocks: Iterable[Records], rows: int) -> Iterator[list[Records]]:
    """Blocks in their order, together at least so many rows but for the last: a call of the
    decoder costs the same however few rows it has, and a file of hundreds of domains has some
    rows of each."""
    group: list[Records] = []
    count = 0
    for block in blocks:
        group.append(block)
        count += len(block)
        if count >= rows:
            yield group
            group, count = [], 0
    if group:
        yield group


def record_at(data: mmap.mmap, offset: int) -> bytes:
    """The record that begins at `offset` of a TFRecord file, which has been read before."""
    return data[offset + 12:offset + 12 + _HEADER.unpack_from(data, offset)[0]]


def decode_timestamps(records: Records) -> np.ndarray:
    """The `timestamp` of serialized tf.Examples, int64 [records]; otherwise as `decode`."""
    return _parse(records, ['timestamp'], {}, ['timestamp']).singles['timestamp']


def decode(records: Records, features: list[Feature]) -> Columns:
    """Parses serialized tf.Examples.

    Args:
        records: the examples, of `Records.joined` or `Records.of`.
        features: which of their features are wanted.

    Raises:
        UserError: a record is no example of this dataset.
    """
    singles = [feature.name for feature in features if feature.kind != 'sequence']
    parsed = _parse(
        records, [*singles, 'click', 'user_key'],
        {feature.name: feature.length for feature in features if feature.kind == 'sequence'},
        ['click', 'user_key'])
    ids = np.empty((len(records), len(singles)), np.int32)
    for place, name in enumerate(singles):
        ids[:, place] = parsed.singles[name]
    return Columns(ids, parsed.sequences, parsed.singles['click'].astype(np.int8),
                   parsed.singles['user_key'])


def decode_parts(parts: Sequence[Records], decoder: Callable[[Records], Decoded]) -> Decoded:
    """Decodes records of several files together; a damaged one is told with its own file."""
    try:
        return decoder(Records.joined(parts))
    except UserError:
        for part in parts:
            decoder(Records.joined([part]))
        raise


def _parse(records: Records, singles: Sequence[str], sequences: Mapping[str, int],
           needed: Sequence[str]) -> Parsed:
    """Columns of records, of which those that are laid out unlike most are read by TensorFlow's
    parser; a single feature that one of them lacks is 0, unless it is needed."""
    if not len(records):
        return Parsed({name: np.zeros(0, np.int64) for name in singles},
                      {name: np.zeros((0, length), np.int32)
                       for name, length in sequences.items()}, np.zeros(0, bool))
    parsed = read_columns(records.data, records.begin, records.end, singles, sequences)
    others = np.flatnonzero(~parsed.known)
    if not len(others):
        return parsed
    rest = _parse_any([records[place] for place in others.tolist()], records.path, singles,
                      sequences, needed)
    if len(others) == len(records):
        return rest
    for name in singles:
        parsed.singles[name][others] = rest.singles[name]
    for name in sequences:
        parsed.sequences[name][others] = rest.sequences[name]
    return parsed


def _parse_any(records: list[bytes], path: str, singles: Sequence[str],
               sequences: Mapping[str, int], needed: Sequence[str]) -> Parsed:
    ids = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True, default_value=-1)
    wanted = {name: tf.io.FixedLenFeature([], tf.int64, None if name in needed else 0)
              for name in singles} | dict.fromkeys(sequences, ids)
    try:
        parsed = tf.io.parse_example(tf.constant(records), wanted)
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError,
            UnicodeDecodeError):  # of TensorFlow's message, which repeats the bytes
        raise _damaged(path) from None
    return Parsed({name: parsed[name].numpy() for name in singles},
                  {name: _padded(parsed[name].numpy(), length)
                   for name, length in sequences.items()}, np.ones(len(records), bool))


def _padded(ids: np.ndarray, length: int) -> np.ndarray:
    padded = np.full((len(ids), length), -1, np.int32)
    width = min(length, ids.shape[1])
    padded[:, :width] = ids[:, :width]
    return padded


def _damaged(path: str) -> UserError:
    return UserError(f'{path} is damaged or is not of this dataset: build the dataset again.')

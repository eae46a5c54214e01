"""Byte ranges of TFRecord files, decoded to columns of ids."""

from __future__ import annotations

import itertools
import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from beam_jobs.dataset import Feature
from beam_jobs.errors import UserError
from trainer.keras import tf

_HEADER = struct.Struct('<Q')
_BLOCK = 1 << 20

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


def read_records(path: str, offset: int, size: int) -> Iterator[bytes]:
    """The records of `size` bytes of a TFRecord file from `offset` on, one after another.

    Raises:
        UserError: the range is not a whole number of records.
    """
    with open(path, 'rb') as file:
        file.seek(offset)
        pending, left = b'', size
        while left or pending:
            block = file.read(min(_BLOCK, left))
            if not block:
                raise _damaged(path)
            left -= len(block)
            data = pending + block
            place, end = 0, len(data)
            while place + 12 <= end:
                stop = place + 16 + _HEADER.unpack_from(data, place)[0]
                if stop > end:
                    break
                yield data[place + 12:stop - 4]
                place = stop
            pending = data[place:]


def record_at(data: mmap.mmap, offset: int) -> bytes:
    """The record that begins at `offset` of a TFRecord file, which has been read before."""
    return data[offset + 12:offset + 12 + _HEADER.unpack_from(data, offset)[0]]


def decode_timestamps(records: list[bytes], path: str) -> np.ndarray:
    """The `timestamp` of serialized tf.Examples, int64 [records]; otherwise as `decode`."""
    try:
        return tf.io.parse_example(tf.constant(records), {
            'timestamp': tf.io.FixedLenFeature([], tf.int64)})['timestamp'].numpy()
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError):
        raise _damaged(path) from None


def decode(records: list[bytes], features: list[Feature], path: str) -> Columns:
    """Parses serialized tf.Examples.

    Args:
        records: the examples.
        features: which of their features are wanted.
        path: where they are from, for the error.

    Raises:
        UserError: a record is no example of this dataset.
    """
    single = tf.io.FixedLenFeature([], tf.int64)
    ids = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True, default_value=-1)
    wanted = {feature.name: ids if feature.kind == 'sequence' else
              tf.io.FixedLenFeature([], tf.int64, default_value=0) for feature in features}
    try:
        parsed = tf.io.parse_example(
            tf.constant(records), {**wanted, 'click': single, 'user_key': single})
    except (tf.errors.InvalidArgumentError, tf.errors.DataLossError):
        raise _damaged(path) from None
    singles = [parsed[feature.name] for feature in features if feature.kind != 'sequence']
    return Columns(
        tf.cast(tf.stack(singles, axis=1), tf.int32).numpy() if singles
        else np.zeros((len(records), 0), np.int32),
        {feature.name: _padded(parsed[feature.name].numpy(), feature.length)
         for feature in features if feature.kind == 'sequence'},
        parsed['click'].numpy().astype(np.int8), parsed['user_key'].numpy())


def decode_files(records: list[tuple[str, bytes]],
                 decoder: Callable[[list[bytes], str], Decoded]) -> Decoded:
    """Decodes records of several files together; a damaged one is told with its own file.

    A call of TensorFlow's parser costs the same however few rows it has, and a range of a file
    may be a few rows of one of many domains.

    Args:
        records: each behind the path of its file.
        decoder: of records, and the path for its error.
    """
    try:
        return decoder([record for _, record in records], records[0][0])
    except UserError:
        for path, of_path in itertools.groupby(records, lambda each: each[0]):
            decoder([record for _, record in of_path], path)
        raise


def _padded(ids: np.ndarray, length: int) -> np.ndarray:
    padded = np.full((len(ids), length), -1, np.int32)
    width = min(length, ids.shape[1])
    padded[:, :width] = ids[:, :width]
    return padded


def _damaged(path: str) -> UserError:
    return UserError(f'{path} is damaged or is not of this dataset: build the dataset again.')

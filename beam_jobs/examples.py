"""Ids to tf.Examples in TFRecord files, a column at a time, with the same bytes every time.

(The encoder of tfx_bsl writes the features of an example in an order that differs between
processes, and takes 3.5 times as long.)

An example is three byte strings joined: what a sampled negative shares with its positive, what
belongs to its item, and the click. Each is made once and used by every example that has it;
so are their checksums, and the checksum of the whole follows from those of the three.
"""

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.atomic import Temporary
from beam_jobs.crc32c import binary_parts, crc32c, distinct, joined, masked


class Lists(NamedTuple):
    """Lists of ids: those of row i are `values[offsets[i]:offsets[i + 1]]`."""

    offsets: np.ndarray
    values: np.ndarray


Columns = Mapping[str, np.ndarray | Lists]


class Pieces(NamedTuple):
    """Encoded features of many rows: a binary array, and lengths and checksums of each."""

    strings: pa.Array
    lengths: np.ndarray
    checksums: np.ndarray

    def take(self, rows: np.ndarray) -> 'Pieces':
        return Pieces(self.strings.take(pa.array(rows)), self.lengths[rows],
                      self.checksums[rows])


def encode_features(columns: Columns) -> Pieces:
    """Encodes columns of int64 ids as the features of a tf.Example, for each row.

    Args:
        columns: by feature name, one id a row, or `Lists`.
    """
    return _joined([_entry(name, ids) for name, ids in columns.items()])


def frame(parts: list[Pieces]) -> tuple[pa.Array, np.ndarray]:
    """TFRecords of the examples made of `parts`, and the length of each record in bytes."""
    length = sum(part.lengths for part in parts)
    sizes, which = distinct(length)
    opening = [b'\x0a' + _varint(size) for size in sizes.tolist()]
    checksums = crc32c(pa.array(opening, pa.binary()))[which]
    for part in parts:
        checksums = joined(checksums, part.checksums, part.lengths)
    # The strings are joined but once, with what frames them: copying costs as much as the rest.
    whole = [len(start) + size for start, size in zip(opening, sizes.tolist(), strict=True)]
    heads = pa.array([_record_head(size) + start
                      for size, start in zip(whole, opening, strict=True)], pa.binary())
    tails = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(4), len(length), [None, pa.py_buffer(masked(checksums).astype('<u4'))])
    records = pc.binary_join_element_wise(
        heads.take(pa.array(which)), *[part.strings for part in parts],
        tails.cast(pa.binary()), pa.scalar(b'', pa.binary()))
    return records, np.asarray(whole)[which] + 16


class ExampleFile:
    """One TFRecord file; a context manager, on leaving which the file is in its place."""

    def __init__(self, path: str):
        self._path, self._lengths = path, []

    def __enter__(self) -> 'ExampleFile':
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        self._file = Temporary(self._path)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self._file.close(keep=kind is None)

    def write(self, parts: list[Pieces]) -> None:
        """Appends examples made of `parts`."""
        records, lengths = frame(parts)
        offsets, data = binary_parts(records)
        self._file.file.write(data[offsets[0]:offsets[-1]])
        self._lengths.append(lengths)

    def index(self, domain: np.ndarray) -> pa.Table:
        """Where each domain's examples are, given the domain id of every example written."""
        lengths = np.concatenate(self._lengths)
        first = np.flatnonzero(np.concatenate([[True], domain[1:] != domain[:-1]]))
        offsets = np.cumsum(lengths) - lengths
        return pa.table({
            'domain': domain[first],
            'file': [os.path.basename(self._path)] * len(first),
            'offset': offsets[first],
            'bytes': np.add.reduceat(lengths, first),
            'examples': np.diff(np.append(first, len(domain)))})


def _pieces(strings: pa.Array) -> Pieces:
    return Pieces(strings, np.diff(binary_parts(strings)[0]), crc32c(strings))


def _joined(parts: list[Pieces]) -> Pieces:
    """The strings of `parts` joined, row by row."""
    checksums = parts[0].checksums
    for part in parts[1:]:
        checksums = joined(checksums, part.checksums, part.lengths)
    strings = pc.binary_join_element_wise(*[part.strings for part in parts],
                                          pa.scalar(b'', pa.binary()))
    return Pieces(strings, sum(part.lengths for part in parts), checksums)


def _entry(name: str, ids: np.ndarray | Lists) -> Pieces:
    """The bytes of one feature's map entry: `features.feature[name].int64_list = ids`."""
    if not isinstance(ids, Lists):
        values, place = distinct(ids)
        return _entry(name, Lists(np.arange(len(values) + 1), values)).take(place)
    packed = _pieces(_packed_varints(ids))
    sizes, which = distinct(packed.lengths)
    heads = _pieces(pa.array([_entry_head(name, size) for size in sizes.tolist()],
                             pa.binary()))
    return _joined([heads.take(which), packed])


def _packed_varints(ids: Lists) -> pa.Array:
    """Each list as varints side by side: seven bits a byte, low ones first."""
    values = np.asarray(ids.values, np.int64).view(np.uint64)
    sizes = np.ones(len(values), np.int64)
    for size in range(1, 10):
        more = values >= np.uint64(1) << np.uint64(7 * size)
        if not more.any():
            break
        sizes += more
    width = int(sizes.max(initial=1))
    shifts = np.arange(width, dtype=np.uint64) * np.uint64(7)
    spread = ((values[:, None] >> shifts) & np.uint64(0x7F)).astype(np.uint8)
    place = np.arange(width)
    spread[place < sizes[:, None] - 1] |= 0x80
    data = spread[place < sizes[:, None]]
    ends = np.concatenate([[0], np.cumsum(sizes)])[ids.offsets].astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(ends) - 1,
                                 [None, pa.py_buffer(ends), pa.py_buffer(data)])


def _entry_head(name: str, size: int) -> bytes:
    """All of a map entry before its `size` bytes of varints."""
    key = name.encode()
    int64_list = (b'\x0a' + _varint(size)) if size else b''
    feature = b'\x1a' + _varint(len(int64_list) + size) + int64_list
    entry = (b'\x0a' + _varint(len(key)) + key
             + b'\x12' + _varint(len(feature) + size) + feature)
    return b'\x0a' + _varint(len(entry) + size) + entry


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _record_head(size: int) -> bytes:
    length = size.to_bytes(8, 'little')
    checksum = masked(crc32c(pa.array([length], pa.binary())))
    return length + int(checksum[0]).to_bytes(4, 'little')

"""Integer features of serialized tf.Examples, read from many at once.

TensorFlow's parser looks every feature of every example up by its name. Examples of one dataset
have the same features in the same order, so that what stands where is known but for the lengths
of numbers: here all examples are gone through side by side, feature after feature, in NumPy. An
example that is laid out in another way is left to TensorFlow's parser.

The bytes of a feature, an entry of the map in tf.train.Features, are (lengths are varints)

    0A [length] 0A [length] name 12 [length] 1A [length] 0A [length] varint varint ...
    entry       key              Feature     Int64List   packed values

without the last 0A and length where there are no values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

PADDING = 1024  # bytes behind the last example, into which a damaged one may lead
# 12 [size + 4] 1A [size + 2] 0A [size] before a number of so many bytes, little-endian.
_SINGLE, _SINGLE_SIZES, _SINGLE_MASK = 0x000A021A0412, 0x010001000100, 0xFFFFFFFFFFFF
_SEVEN = 0x7F7F7F7F7F7F7F7F
# By a varint's length: its bytes, and the bits that say that more are to come.
_BYTES = np.array([(1 << 8 * min(size, 8)) - 1 for size in range(11)], np.uint64)
_MORE = np.array([0x8080808080808080 & ((1 << 8 * max(size - 1, 0)) - 1) for size in range(11)],
                 np.uint64)
_LONGEST = 5  # bytes of an id in a sequence
_LONGEST_NAME = 100  # so that the length of a single feature's entry is one byte


class Parsed(NamedTuple):
    """What was read.

    Attributes:
        singles: int64 [examples] by name.
        sequences: int32 [examples, length] by name, padded with -1.
        known: which examples were read; of the others the columns say nothing.
    """

    singles: dict[str, np.ndarray]
    sequences: dict[str, np.ndarray]
    known: np.ndarray


def read_columns(data: bytes, begin: np.ndarray, end: np.ndarray, singles: Sequence[str],
                 sequences: Mapping[str, int]) -> Parsed:
    """Reads features of serialized tf.Examples that are laid out as the first of them is.

    Args:
        data: that holds the examples, and `PADDING` bytes behind the last.
        begin: of each example, at least one, int64 [examples].
        end: of each example, int64 [examples].
        singles: features of one integer.
        sequences: features of any number of integers in [0, 2^31), of which the first so many
            are read.
    """
    names = _names(data[begin[0]:end[0]])
    wanted = {name.encode(): name for name in (*singles, *sequences)}
    if (names is None or not wanted.keys() <= {*names} or len({*names}) < len(names)
            or max(map(len, names)) > _LONGEST_NAME):
        return Parsed({}, {}, np.zeros(len(begin), bool))
    return _Reader(data, begin, end).read([(key, wanted.get(key)) for key in names], sequences)


class _Reader:
    """Goes through the bytes of examples side by side; `place` is where each of them is."""

    def __init__(self, data: bytes, begin: np.ndarray, end: np.ndarray):
        self.place, self._end = begin, end
        self._bytes = np.frombuffer(data, np.uint8)
        self._words = np.ndarray(len(data) - 7, '<u8', data, strides=1)  # from every byte on
        self._known, self._all_known = np.ones(len(begin), bool), True

    def read(self, features: Sequence[tuple[bytes, str | None]], sequences: Mapping[str, int]
             ) -> Parsed:
        """Reads the features that have a name, all of them standing in this order."""
        columns: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = {}, {}
        self._require(self._step_into(0x0A) + self.place == self._end)
        for key, name in features:
            if name is None:
                self._go_to(self._inside_of_example(self._step_into(0x0A) + self.place))
            elif name in sequences:
                columns[1][name] = self._sequence(key, sequences[name])
            else:
                columns[0][name] = self._single(key)
        self._require(self.place == self._end)
        return Parsed(*columns, self._known)

    def _single(self, key: bytes) -> np.ndarray:
        """The one integer of the feature here."""
        place = self.place
        word = self._words[place + (4 + len(key))]
        size = word >> 40 & 0xFF
        head = (bytes([0x0A, 8 + len(key), 0x0A, len(key)]) + key)[:8]
        mask = (1 << 8 * len(head)) - 1
        self._require(
            (word & _SINGLE_MASK == size * _SINGLE_SIZES + _SINGLE)
            & (self._words[place] & mask == (size << 8) + int.from_bytes(head, 'little')))
        if len(key) > 4:
            self._bytes_are(key[4:], place + 8)
        begin = place + (10 + len(key))
        if size.max() <= 2:
            values = self._short_varint(size, word >> 48)
        else:
            self._require((size > 0) & (size <= 10))
            size = np.minimum(size, 10)
            values = self._varint(begin, size)
        self._go_to(begin + size.view(np.int64))  # not far, if it is behind the example's end
        return values

    def _sequence(self, key: bytes, length: int) -> np.ndarray:
        """The integers of the feature here, [examples, length], padded with -1."""
        end = self._inside_of_example(self._step_into(0x0A) + self.place)
        self._bytes_are(bytes([0x0A, len(key)]) + key, self.place)
        self._go_to(self.place + (2 + len(key)))
        for tag in (0x12, 0x1A):
            self._require(self._step_into(tag) + self.place == end)
        begin, some = self.place, self.place < end
        sizes = np.where(some, self._step_into(0x0A, where=some), 0)
        begin = np.where(some, self.place, begin)
        self._require(begin + sizes == end)
        padded = self._varints(begin, np.where(self._known, sizes, 0), length)
        self._go_to(end)
        return padded

    def _varints(self, begin: np.ndarray, sizes: np.ndarray, length: int) -> np.ndarray:
        """Varints side by side in so many bytes of each example."""
        padded = np.full((len(begin), length), -1, np.int32)
        stop = np.cumsum(sizes)
        example = np.repeat(np.arange(len(begin)), sizes)
        flat = np.arange(len(example)) + np.repeat(begin - stop + sizes, sizes)
        last = self._bytes[flat] < 0x80
        cut = (sizes > 0) & ~last[np.minimum(stop, len(last)) - 1] if len(last) else sizes > 0
        if cut.any():  # the last varint of an example goes on behind its end
            self._require(~cut)
            return self._varints(begin, np.where(cut, 0, sizes), length)
        ends = np.flatnonzero(last)
        starts = np.append(0, ends[:-1] + 1)[:len(ends)]
        size = ends - starts + 1
        example = example[ends]
        counts = np.bincount(example, minlength=len(begin))
        place = np.arange(len(ends)) - np.repeat(np.cumsum(counts) - counts, counts)
        self._require(np.bincount(example, size > _LONGEST, minlength=len(begin)) == 0)
        wanted = (place < length) & (size <= _LONGEST)
        first = flat[starts[wanted]]
        word = self._words[first] & _BYTES[size[wanted]]
        padded[example[wanted], place[wanted]] = _compact(word).astype(np.int32)
        return padded

    def _short_varint(self, size: np.ndarray, head: np.ndarray) -> np.ndarray:
        """One varint of one or two bytes an example, of which `head` has both."""
        two = size - 1
        self._require(head & 0x80 == two << 7)
        second = head >> 8
        second *= two
        if second.max() >= 0x80:
            self._require(second < 0x80)
        second <<= 7
        second |= head & 0x7F
        return second.view(np.int64)

    def _varint(self, begin: np.ndarray, size: np.ndarray) -> np.ndarray:
        """One varint of so many bytes, at most ten, an example."""
        word = self._words[begin] & _BYTES[size]
        more = word & 0x8080808080808080
        values = _compact(word)
        if size.max() > 8:
            rest = self._words[begin + 8]
            nine, ten = size > 8, size > 9
            self._require(~nine | ((rest & 0x80 != 0) == ten))
            self._require(~ten | (rest >> 8 & 0xFE == 0))
            self._require((more >> 63 != 0) == nine)
            more = more & np.where(nine, np.uint64(0x0080808080808080), ~np.uint64(0))
            values |= np.where(nine, (rest & 0x7F) << 56, 0)
            values |= np.where(ten, (rest >> 8) << 63, 0)
        self._require(more == _MORE[np.minimum(size, 8)])
        return values.view(np.int64)

    def _bytes_are(self, wanted: bytes, place: np.ndarray) -> None:
        for done in range(0, len(wanted), 8):
            part = wanted[done:done + 8]
            mask = (1 << 8 * len(part)) - 1
            self._require(self._words[place + done] & mask == int.from_bytes(part, 'little'))

    def _step_into(self, tag: int, where: np.ndarray | None = None) -> np.ndarray:
        """Goes past a tag and a length of one to three bytes, which it returns."""
        word = self._words[self.place]
        fits = word & 0xFF == tag
        second, third = word >> 15 & 1, word >> 23 & 1
        third = third & second
        fits &= (word >> 31 & 1 & third) == 0
        length = (word >> 8 & 0x7F) | (word >> 16 & 0x7F) * second << 7 | (
            word >> 24 & 0x7F) * third << 14
        self._require(fits if where is None else fits | ~where)
        self.place = self.place + (2 + second + third).view(np.int64)
        return length.view(np.int64)

    def _inside_of_example(self, place: np.ndarray) -> np.ndarray:
        self._require(place <= self._end)
        return place

    def _go_to(self, place: np.ndarray) -> None:
        """Goes on; examples that are laid out in another way start again where all begins, so
        that they lead nowhere."""
        self.place = place if self._all_known else np.where(self._known, place, 0)

    def _require(self, fits: np.ndarray) -> None:
        if not fits.all():
            self._known &= fits
            self._all_known = False


def _compact(word: np.ndarray) -> np.ndarray:
    """The lower seven bits of eight bytes side by side."""
    word = word & _SEVEN
    word = word & 0x007F007F007F007F | (word & 0x7F007F007F007F00) >> 1
    word = word & 0x00003FFF00003FFF | (word & 0x3FFF00003FFF0000) >> 2
    return word & 0x000000000FFFFFFF | (word & 0x0FFFFFFF00000000) >> 4


def _names(example: bytes) -> list[bytes] | None:
    """The names of an example's features as they stand, or None for bytes that are none."""
    try:
        begin, end = _inside(example, 0, 0x0A)
        names = []
        while begin < end:
            begin, entry = _inside(example, begin, 0x0A)
            first, last = _inside(example, begin, 0x0A)
            names.append(example[first:last])
            begin = entry
        return names if begin == end == len(example) else None
    except (IndexError, ValueError):
        return None


def _inside(data: bytes, place: int, tag: int) -> tuple[int, int]:
    """Where what is behind a tag and a length begins and ends.

    Raises:
        ValueError: another tag is there.
        IndexError: the bytes end before.
    """
    if data[place] != tag:
        raise ValueError(data[place])
    size = shift = 0
    while True:
        place += 1
        size |= (data[place] & 0x7F) << shift
        shift += 7
        if data[place] < 0x80:
            return place + 1, place + 1 + size

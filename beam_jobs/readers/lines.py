"""A block of text as numbered lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LF, CR = 10, 13
NOT_UTF8 = 'not UTF-8'


@dataclass(frozen=True)
class Lines:
    """Lines of text, each of which ends with a line feed; without blank lines.

    Attributes:
        data: Bytes of the lines.
        ends: Position in `data` after the line feed of each line, `int64[lines]`.
        numbers: Number of each line in its file, `int64[lines]`.
        total: Number of lines, blank ones included.
    """

    data: bytes
    ends: np.ndarray
    numbers: np.ndarray
    total: int

    @classmethod
    def of(cls, data: bytes, first: int) -> 'Lines':
        """The lines of `data`; the first one has the number `first`."""
        if not data.endswith(b'\n'):
            data += b'\n'
        raw = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(raw == LF) + 1
        starts = np.concatenate([[0], ends[:-1]])
        lengths = ends - starts
        blank = (lengths == 1) | ((lengths == 2) & (raw[starts] == CR))
        lines = cls(data, ends, np.arange(first, first + len(ends)), len(ends))
        return lines.keep(~blank) if blank.any() else lines

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def starts(self) -> np.ndarray:
        return np.concatenate([[0], self.ends[:-1]]).astype(np.int64)

    def keep(self, wanted: np.ndarray) -> 'Lines':
        """The lines where `wanted`."""
        lengths = self.ends - self.starts
        raw = np.frombuffer(self.data, np.uint8)[np.repeat(wanted, lengths)]
        return Lines(
            raw.tobytes(), np.cumsum(lengths[wanted]), self.numbers[wanted], self.total
        )

    def texts(self, places: Sequence[int]) -> list[str]:
        """The lines at `places` without line ends; bytes that are not UTF-8 are replaced."""
        starts = self.starts
        return [
            self.data[starts[place] : self.ends[place]]
            .decode('utf-8', 'replace')
            .rstrip('\r\n')
            for place in places
        ]

    def with_byte(self, places: np.ndarray) -> np.ndarray:
        """The number of the bytes at `places` in each line, `int64[lines]`."""
        return np.bincount(
            np.searchsorted(self.ends, places, side='right'), minlength=len(self.ends)
        )

    def not_utf8(self) -> np.ndarray:
        """The places of the lines with bytes that are not UTF-8."""
        try:
            self.data.decode()
            return np.zeros(0, np.int64)
        except UnicodeDecodeError:
            # Such bytes become lone surrogates, which a whole block shows at once.
            text = self.data.decode('utf-8', 'surrogateescape')
        points = np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), '<u4')
        line = np.cumsum(points == LF) - (points == LF)
        return np.unique(line[(points >= 0xDC80) & (points <= 0xDCFF)])

    def part(self, begin: int, end: int) -> bytes:
        """Lines `begin` to `end`, without the last line feed."""
        start = 0 if begin == 0 else self.ends[begin - 1]
        return self.data[start : self.ends[end - 1] - 1] if end > begin else b''

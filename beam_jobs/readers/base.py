"""What every reader is: raw files in, Arrow record batches of named columns out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from beam_jobs.errors import UserError
from beam_jobs.files import file_size, line_ranges
from beam_jobs.readers.lines import Lines

PART_BYTES = 256 << 20

REJECTED = pa.schema([('source', pa.string()), ('line', pa.int64()), ('reason', pa.string()),
                      ('row', pa.string())])


class Shard(NamedTuple):
    """A piece of the raw log that one worker reads: a file, or a part of one.

    Attributes:
        path: the file.
        part: which row group of a Parquet file.
        first_line: the number of the part's first row in the file.
        begin, end: the bytes of a part of a text; `end` None is the end of the file.
    """

    path: str
    part: int = 0
    first_line: int = 1
    begin: int = 0
    end: int | None = None


def text_shards(paths: Iterable[str], size: int = PART_BYTES) -> list[Shard]:
    """The shards of files of text: those larger than `size` bytes are read in parts.

    Where the parts begin is found by reading a file once, so small files are left whole.
    """
    shards = []
    for path in paths:
        if path.endswith('.gz') or file_size(path) <= size:
            shards.append(Shard(path))
        else:
            shards += [Shard(path, first_line=line, begin=begin, end=end)
                       for begin, end, line in line_ranges(path, size)]
    return shards


class RawBatch(NamedTuple):
    """Rows as they stand in the log, and those that could not be read.

    Attributes:
        rows: `source` (the file's base name), `line` (from 1), `user_id`, `item_id`,
            `timestamp` (seconds UTC, or a text that is parsed later), `click`, and every
            other column of the log.
        rejected: `source`, `line`, `reason`, `row` (the raw text).
    """

    rows: pa.RecordBatch
    rejected: pa.RecordBatch


class Block(NamedTuple):
    """Some rows of a file: `columns` by name, the `lines` they stand in, the `rejected`."""

    columns: dict[str, pa.Array]
    lines: np.ndarray
    rejected: pa.RecordBatch


class Reader(ABC):
    """Reads one kind of raw log.

    Args:
        inputs: files, directories or patterns; None where the reader fetches its own.
        options: what this reader takes beside, as in the configuration.
        cache: the directory that fetched files are kept in.
        columns: the columns that are wanted beside user, item, timestamp and click; None for
            all. It only spares work: a reader may give more.

    Raises:
        UserError: an option that the reader does not know, or inputs that it needs or
            cannot find.
    """

    name = ''

    def __init__(self, inputs: Sequence[str] | None, options: dict[str, Any], cache: str,
                 columns: Iterable[str] | None = None):
        self.inputs = None if inputs is None else list(inputs)
        self.options = options
        self.cache = cache
        self._columns = None if columns is None else frozenset(columns)
        self._tables = {}

    @abstractmethod
    def files(self) -> list[str]:
        """Every raw file that is read, log and static tables, in a fixed order."""

    @abstractmethod
    def shards(self) -> list[Shard]:
        """The log in pieces, in a fixed order."""

    @abstractmethod
    def read(self, shard: Shard) -> Iterator[RawBatch]:
        """The rows of one shard.

        Raises:
            UserError: the file cannot be read as what it should be.
        """

    def wants(self, column: str) -> bool:
        """Whether `column` is wanted."""
        return self._columns is None or column in self._columns

    def wanted(self, *always: str) -> frozenset[str] | None:
        """The columns that are wanted and `always`; None for all."""
        return None if self._columns is None else self._columns | set(always)

    def table(self, path: str, load) -> Any:
        """What `load(path)` gives, kept while this reader lives, but never pickled."""
        if path not in self._tables:
            self._tables[path] = load(path)
        return self._tables[path]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_tables': {}}


@dataclass(frozen=True)
class NoOptions:
    """The options of a reader that takes none."""


def raw_batch(source: str, lines: np.ndarray, columns: dict[str, pa.Array],
              rejected: pa.RecordBatch | None = None) -> RawBatch:
    """A batch of the columns, with the place of each row.

    Args:
        source: what the file is called in the dataset.
        lines: the line of each row, `int64[rows]`.
        columns: name to values.
        rejected: in `REJECTED`; none when absent.
    """
    sources = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(len(lines), np.int32)), pa.array([source])
    ).dictionary_decode()
    columns = {'source': sources, 'line': pa.array(lines, pa.int64()), **columns}
    rows = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return RawBatch(rows, no_rejects() if rejected is None else rejected)


def rejects(source: str, lines: Sequence[int], reasons: Sequence[str],
            rows: Sequence[str]) -> pa.RecordBatch:
    """A batch in `REJECTED`."""
    return pa.RecordBatch.from_arrays(
        [pa.array([source] * len(lines), pa.string()), pa.array(lines, pa.int64()),
         pa.array(reasons, pa.string()), pa.array(rows, pa.string())], schema=REJECTED)


def rejected_lines(source: str, lines: Lines, reasons: Mapping[int, str]) -> pa.RecordBatch:
    """The lines at the places that `reasons` names, in `REJECTED`, in their order."""
    places = sorted(reasons)
    return rejects(source, lines.numbers[places] if places else [],
                   [reasons[place] for place in places], lines.texts(places))


def no_rejects() -> pa.RecordBatch:
    """An empty batch in `REJECTED`."""
    return rejects('', [], [], [])


def need_inputs(inputs: Sequence[str] | None, reader: str, what: str) -> list[str]:
    """The inputs of a reader that cannot fetch its own.

    Raises:
        UserError: there are none; the sentence says how to name them.
    """
    if not inputs:
        raise UserError(f'The reader {reader} needs {what}: name where they are with '
                        '--set dataset.inputs=[DIRECTORY].')
    return list(inputs)

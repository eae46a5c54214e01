"""What every reader is: raw files in, Arrow record batches of named columns out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from beam_jobs.readers.lines import Lines
from beam_jobs.readers.raw_files import file_size, line_ranges
from mdctr.errors import UserError
from mdctr.settings import Settings

PART_BYTES = 256 << 20
T = TypeVar('T')

REJECTED = pa.schema(
    [
        ('source', pa.string()),
        ('line', pa.int64()),
        ('reason', pa.string()),
        ('row', pa.string()),
    ]
)


class Shard(NamedTuple):
    """A piece of the raw log that one worker reads: a file, or a part of one.

    Attributes:
        path: Path of the file.
        part: Index of the row group of a Parquet file.
        first_line: Line number of the shard's first row in the file.
        begin: First byte of a part of a text file.
        end: Byte after the last one; None for the end of the file.
    """

    path: str
    part: int = 0
    first_line: int = 1
    begin: int = 0
    end: int | None = None


def text_shards(paths: Iterable[str], size: int = PART_BYTES) -> list[Shard]:
    """The shards of text files: those larger than `size` bytes are read in parts.

    A file has to be read once to find where its parts begin, so small files stay whole.
    """
    shards = []
    for path in paths:
        if path.endswith('.gz') or file_size(path) <= size:
            shards.append(Shard(path))
        else:
            shards += [
                Shard(path, first_line=line, begin=begin, end=end)
                for begin, end, line in line_ranges(path, size)
            ]
    return shards


class JoinCount(NamedTuple):
    """How many rows of a batch found their row in a joined table.

    Attributes:
        table: The table and the column that it is joined on, for people.
        rows: Number of rows.
        unmatched: Number of rows without a row in the table.
        max_unmatched_fraction: Fraction of such rows of the log above which the build fails.
    """

    table: str
    rows: int
    unmatched: int
    max_unmatched_fraction: float = 1.0


class RawBatch(NamedTuple):
    """Rows as they are in the log, and rows that could not be read.

    Attributes:
        rows: `source` (the file's base name), `line` (from 1; of MIND, the rows of a line
            have the same), `user_id`, `item_id`, `timestamp` (seconds since 1970 UTC, or
            texts: seconds or ISO 8601), `click`, and every other column of the log.
        rejected: `source`, `line`, `reason`, `row` (the raw text).
        joins: Of each joined table how many rows found theirs.
    """

    rows: pa.RecordBatch
    rejected: pa.RecordBatch
    joins: tuple[JoinCount, ...] = ()


class Block(NamedTuple):
    """Some rows of a file: `columns` by name, the `lines` of the rows, and `rejected` rows."""

    columns: dict[str, pa.Array]
    lines: np.ndarray
    rejected: pa.RecordBatch


class NoOptions(Settings):
    """Options of a reader without options."""


class Reader(ABC):
    """Reads one kind of raw log.

    Args:
        inputs: Files, directories or patterns; None if the reader fetches its own.
        options: Options of the reader, of its class `Options`.
        cache: Directory in which fetched files are kept.
        columns: Columns that are needed besides user, item, timestamp and click; None for
            all. It only saves work: a reader may give more.

    Raises:
        UserError: Inputs are missing or cannot be found.
    """

    name: ClassVar[str] = ''
    Options: ClassVar[type[Settings]] = NoOptions

    def __init__(
        self,
        inputs: Sequence[str] | None,
        options: Any,
        cache: str,
        columns: Iterable[str] | None = None,
    ):
        self.inputs = None if inputs is None else list(inputs)
        self.options = options
        self.cache = cache
        self._columns = None if columns is None else frozenset(columns)
        self._tables: dict[str, Any] = {}

    @property
    def has_timestamps(self) -> bool:
        """Whether the log has timestamps; otherwise those of the batches mean nothing."""
        return True

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
            UserError: The file cannot be read in its format.
        """

    def log_columns(self) -> list[str]:
        """The columns of the raw log, under its own names; empty if the reader cannot tell."""
        return []

    def wants(self, column: str) -> bool:
        """Whether `column` is needed."""
        return self._columns is None or column in self._columns

    def wanted(self, *always: str) -> frozenset[str] | None:
        """The columns that are needed, and `always`; None for all."""
        return None if self._columns is None else self._columns | set(always)

    def table(self, path: str, load: Callable[[str], T]) -> T:
        """The result of `load(path)`, cached in this reader but not pickled with it."""
        if path not in self._tables:
            self._tables[path] = load(path)
        return self._tables[path]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_tables': {}}


def raw_batch(
    source: str,
    lines: np.ndarray,
    columns: dict[str, pa.Array],
    rejected: pa.RecordBatch | None = None,
) -> RawBatch:
    """A batch of the columns, with the place of each row.

    Args:
        source: Name of the file in the dataset.
        lines: Line of each row, `int64[rows]`.
        columns: Columns by name.
        rejected: Rejected rows, in `REJECTED`; none if absent.
    """
    sources = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(len(lines), np.int32)), pa.array([source])
    ).dictionary_decode()
    columns = {'source': sources, 'line': pa.array(lines, pa.int64()), **columns}
    rows = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return RawBatch(rows, no_rejects() if rejected is None else rejected)


def with_timestamps(batch: RawBatch, seconds: np.ndarray) -> RawBatch:
    """The batch with the timestamps `seconds`, `float64[rows]`, of which NaN are missing."""
    rows = batch.rows
    place = rows.schema.get_field_index('timestamp')
    columns = list(rows.columns)
    columns[place] = pa.array(seconds, mask=np.isnan(seconds))
    return batch._replace(rows=pa.RecordBatch.from_arrays(columns, names=rows.schema.names))


def rejects(
    source: str,
    lines: Sequence[int] | np.ndarray,
    reasons: Sequence[str],
    rows: Sequence[str],
) -> pa.RecordBatch:
    """A batch in `REJECTED`."""
    return pa.RecordBatch.from_arrays(
        [
            pa.array([source] * len(lines), pa.string()),
            pa.array(lines, pa.int64()),
            pa.array(reasons, pa.string()),
            pa.array(rows, pa.string()),
        ],
        schema=REJECTED,
    )


def rejected_lines(source: str, lines: Lines, reasons: Mapping[int, str]) -> pa.RecordBatch:
    """The lines at the places of `reasons`, in `REJECTED`, in the order of the file."""
    places = sorted(reasons)
    return rejects(
        source,
        lines.numbers[places] if places else [],
        [reasons[place] for place in places],
        lines.texts(places),
    )


def rows_as_json(rows: pa.RecordBatch) -> pa.Array:
    """Each row as a JSON object, without its place; for people to read."""
    names = [name for name in rows.schema.names if name not in ('source', 'line')]
    # As objects, since pandas has no times after the year 2262.
    frame = pa.Table.from_batches([rows]).select(names).to_pandas(timestamp_as_object=True)
    lines = frame.to_json(orient='records', lines=True, force_ascii=False, date_format='iso')
    return pa.array(lines.split('\n')[: rows.num_rows], pa.string())


def reject_rows(batch: RawBatch, invalid: np.ndarray, reason: str) -> RawBatch:
    """The batch with its `invalid` rows, `bool[rows]`, among the rejected ones."""
    if not invalid.any():
        return batch
    bad = batch.rows.filter(pa.array(invalid))
    found = rejects(
        bad.column(0)[0].as_py(),
        bad.column(1).to_numpy(),
        [reason] * bad.num_rows,
        rows_as_json(bad).to_pylist(),
    )
    rejected = pa.Table.from_batches([batch.rejected, found]).combine_chunks()
    return batch._replace(
        rows=batch.rows.filter(pa.array(~invalid)), rejected=rejected.to_batches()[0]
    )


def no_rejects() -> pa.RecordBatch:
    """An empty batch in `REJECTED`."""
    return rejects('', [], [], [])


def need_inputs(inputs: Sequence[str] | None, reader: str, what: str) -> list[str]:
    """The inputs of a reader that cannot fetch its own.

    Raises:
        UserError: There are none.
    """
    if not inputs:
        raise UserError(
            f'The reader {reader} needs {what}: name their directory with '
            '--set dataset.inputs=[DIRECTORY].'
        )
    return list(inputs)

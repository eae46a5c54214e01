"""Delimited text (CSV and the like) in blocks: columns of texts, and rejected lines.

A line is a row: a value may be quoted, but cannot contain a line break. A line is rejected,
without its block, if it is not UTF-8, has an odd number of quotes, a carriage return in its
middle, or another number of fields than the header. Blank lines are skipped.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv

from beam_jobs.readers.base import Block, Shard, rejected_lines
from beam_jobs.readers.lines import CR, LF, NOT_UTF8, Lines
from beam_jobs.readers.raw_files import BLOCK_BYTES, base_name, read_blocks
from mdctr.errors import UserError

_MARK = b'\xef\xbb\xbf'  # some programs begin UTF-8 with it


@dataclass(frozen=True)
class Dialect:
    """How the text is delimited.

    Attributes:
        separator: Separator of the fields; one or more characters.
        quote: Character around values that contain a separator; None if quotes are plain text.
        names: Names of the fields; None if they are the file's first line.
        encoding: Encoding of the file; if not UTF-8, one in which every byte is a character.
        escape: Character before a quote that is part of a value; None if it is doubled.
    """

    separator: str = ','
    quote: str | None = '"'
    names: tuple[str, ...] | None = None
    encoding: str = 'utf-8'
    escape: str | None = None


def read_delimited(
    shard: Shard,
    dialect: Dialect,
    columns: frozenset[str] | None = None,
    source: str | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Block]:
    """Reads a file, or a part of one, block by block.

    Args:
        shard: Shard of a file, plain or gzipped.
        dialect: Format of the file.
        columns: Fields to read, all if None; fields that the file lacks are left out.
        source: Name of the file for rejected rows; its base name if absent.
        block_bytes: Approximate size of a block.

    Raises:
        UserError: As `read_blocks`; or a header that is not text or has a field twice.
    """
    path, number, names = shard.path, shard.first_line, dialect.names
    if names is None and shard.begin:
        header = next(read_blocks(path, block_bytes)).removeprefix(_MARK)
        names = _header(path, header.partition(b'\n')[0], dialect)
    for block in read_blocks(path, block_bytes, shard.begin, shard.end, may_be_empty=True):
        if number == 1:
            block = block.removeprefix(_MARK)
        if dialect.encoding != 'utf-8':
            block = block.decode(dialect.encoding).encode()
        if len(dialect.separator) > 1:
            block = block.replace(dialect.separator.encode(), b'\t')
        if names is None:
            header, _, block = block.partition(b'\n')
            names, number = _header(path, header, dialect), number + 1
            if not block:
                continue
        wanted = [n for n in names if columns is None or n in columns]
        lines = Lines.of(block, number)
        number += lines.total
        yield _parse(source or base_name(path), lines, names, wanted, dialect)


def read_small(path: str, dialect: Dialect, columns: frozenset[str] | None = None) -> pa.Table:
    """Reads a whole table, such as the properties of users or items; all fields if None.

    Raises:
        UserError: As `read_delimited`; or a line cannot be read.
    """
    tables = []
    for block in read_delimited(Shard(path), dialect, columns):
        if block.rejected.num_rows:
            _, line, reason, _ = (column[0].as_py() for column in block.rejected.columns)
            raise UserError(f'{path}, line {line}: {reason}: fix or remove the line.')
        tables.append(pa.table(block.columns))
    if not sum(table.num_rows for table in tables):
        raise UserError(f'{path} has no rows below its header.')
    return pa.concat_tables(tables).combine_chunks()


def _header(path: str, line: bytes, dialect: Dialect) -> tuple[str, ...]:
    try:
        text = line.decode().rstrip('\r')
    except UnicodeDecodeError:
        raise UserError(
            f'{path} does not begin with a header in UTF-8: it is not delimited text.'
        ) from None
    if '\r' in text:
        raise UserError(
            f'{path} has a carriage return in its first line: end its lines with a line feed '
            '(LF) or with both (CR LF).'
        )
    separator = dialect.separator if len(dialect.separator) == 1 else '\t'
    try:
        names = next(_csv_reader(text, separator, dialect), [])
    except csv.Error as error:
        raise UserError(f'{path}: its header cannot be read ({error}).') from None
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'{path}: its header has the field {name!r} twice.')
    return tuple(names)


def _csv_reader(text: str, separator: str, dialect: Dialect) -> Iterator[list[str]]:
    if dialect.quote is None:
        return csv.reader([text], delimiter=separator, quotechar=None, quoting=csv.QUOTE_NONE)
    return csv.reader(
        [text], delimiter=separator, quotechar=dialect.quote, escapechar=dialect.escape
    )


def _parse(
    source: str, lines: Lines, names: tuple[str, ...], wanted: list[str], dialect: Dialect
) -> Block:
    bad = _unreadable(lines, dialect)
    invalid = dict(bad)
    kept = np.ones(len(lines), bool)
    kept[list(bad)] = False
    places = np.flatnonzero(kept)
    parts = []
    for begin, end, part, wrong in _parse_lines(lines.keep(kept), names, wanted, dialect):
        parts.append(part)
        invalid |= {int(places[begin:end][row]): reason for row, reason in wrong}
    kept[list(invalid)] = False
    return Block(
        {name: _join([part.column(name) for part in parts]) for name in wanted},
        lines.numbers[kept],
        rejected_lines(source, lines, invalid),
    )


def _unreadable(lines: Lines, dialect: Dialect) -> dict[int, str]:
    """The places of lines that the parser must not see, each with its reason."""
    found: dict[int, str] = {}
    raw = np.frombuffer(lines.data, np.uint8)
    if dialect.quote and dialect.quote.encode() in lines.data:
        quotes = lines.with_byte(_quotes(raw, dialect))
        found |= dict.fromkeys(np.flatnonzero(quotes % 2), 'unbalanced quotes')
    if b'\r' in lines.data:
        returns = np.flatnonzero(raw == CR)
        inner = lines.with_byte(returns[raw[returns + 1] != LF])
        found |= dict.fromkeys(np.flatnonzero(inner), 'carriage return within the line')
    found |= dict.fromkeys(lines.not_utf8(), NOT_UTF8)
    return {int(place): reason for place, reason in found.items()}


def _quotes(raw: np.ndarray, dialect: Dialect) -> np.ndarray:
    """The places of the quotes that are not escaped."""
    assert dialect.quote is not None
    quotes = np.flatnonzero(raw == ord(dialect.quote))
    if dialect.escape is None or not (escapes := raw == ord(dialect.escape)).any():
        return quotes
    # An odd number of escape characters before a quote escapes it.
    last_other = np.maximum.accumulate(np.where(escapes, -1, np.arange(len(raw))))
    before = np.where(quotes > 0, last_other[quotes - 1], -1)
    return quotes[(quotes - 1 - before) % 2 == 0]


def _parse_lines(
    lines: Lines,
    names: tuple[str, ...],
    wanted: list[str],
    dialect: Dialect,
    begin: int = 0,
    end: int | None = None,
) -> Iterator[tuple[int, int, pa.Table, list[tuple[int, str]]]]:
    """Parses lines `begin` to `end`; yields (begin, end, table, [(row, reason), ...]).

    If the parser does not find as many rows as lines, a quote is out of place: halves are
    parsed until the line is found.
    """
    end = len(lines) if end is None else end
    data = lines.part(begin, end)  # its last line feed is off: an open quote would take it
    wrong: list[tuple[int, str]] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        few = row.actual_columns < row.expected_columns
        wrong.append(
            (
                row.number - 1,
                f'too {"few" if few else "many"} fields '
                f'({row.actual_columns}, not {row.expected_columns})',
            )
        )
        return 'skip'

    try:
        table = _read_csv(data, names, wanted, dialect, skip)
        if table.num_rows + len(wrong) == end - begin:
            yield begin, end, table, wrong
            return
    except pa.ArrowInvalid:
        pass
    if end - begin == 1:
        yield begin, end, _read_csv(b'', names, wanted, dialect), [(0, 'quotes out of place')]
        return
    middle = (begin + end) // 2
    yield from _parse_lines(lines, names, wanted, dialect, begin, middle)
    yield from _parse_lines(lines, names, wanted, dialect, middle, end)


def _read_csv(
    data: bytes,
    names: tuple[str, ...],
    wanted: list[str],
    dialect: Dialect,
    handler: Callable[[pa.csv.InvalidRow], str] | None = None,
) -> pa.Table:
    wanted = wanted or [names[0]]
    if not data:
        return pa.table({name: pa.array([], pa.string()) for name in wanted})
    separator = dialect.separator if len(dialect.separator) == 1 else '\t'
    return pa.csv.read_csv(
        pa.BufferReader(data),
        read_options=pa.csv.ReadOptions(
            use_threads=False, column_names=names, block_size=len(data) + 1
        ),
        parse_options=pa.csv.ParseOptions(
            delimiter=separator,
            quote_char=dialect.quote or False,
            escape_char=dialect.escape or False,
            ignore_empty_lines=False,
            invalid_row_handler=handler,
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            include_columns=wanted,
            strings_can_be_null=False,
            check_utf8=False,
        ),
    )


def _join(parts: list[pa.ChunkedArray]) -> pa.Array:
    chunks = [chunk for part in parts for chunk in part.chunks]
    if len(chunks) == 1:
        return chunks[0]
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.string())

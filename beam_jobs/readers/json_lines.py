"""JSON lines in blocks: one object a line. Other lines are rejected, without their block."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from beam_jobs.readers.base import Block, Shard, no_rejects, rejected_lines
from beam_jobs.readers.lines import NOT_UTF8, Lines
from beam_jobs.readers.raw_files import BLOCK_BYTES, base_name, read_blocks
from beam_jobs.rows.cells import texts

_FEW = 32  # lines that are read one by one if they cannot be parsed at once
_EXACT = 2.0**53
_DEPTH = 100
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def read_json_lines(
    shard: Shard, block_bytes: int = BLOCK_BYTES, schema: pa.Schema | None = None
) -> Iterator[Block]:
    """Reads a file, or a part of one, block by block.

    The types of the columns are inferred from the values of the block; dates stay texts. If
    the values of a field have several types, those of the lines around them are texts.

    Args:
        shard: Shard of a file, plain or gzipped.
        block_bytes: Approximate size of a block.
        schema: Fields to read, if they are known; others are not parsed. In lines in which
            they have other types, their values are texts.

    Raises:
        UserError: As `beam_jobs.readers.raw_files.read_blocks`.
    """
    number, source = shard.first_line, base_name(shard.path)
    for data in read_blocks(shard.path, block_bytes, shard.begin, shard.end, may_be_empty=True):
        lines = Lines.of(data, number)
        number += lines.total
        broken = dict.fromkeys(_too_deep(lines), f'nested more than {_DEPTH} levels deep')
        broken |= dict.fromkeys(lines.not_utf8().tolist(), NOT_UTF8)
        kept = np.ones(len(lines), bool)
        kept[list(broken)] = False
        rejected = rejected_lines(source, lines, broken)
        if broken:
            yield Block({}, np.zeros(0, np.int64), rejected)
        lines = lines.keep(kept)
        if len(lines):
            yield from _parse(source, lines, schema, 0, len(lines))


def _parse(
    source: str, lines: Lines, schema: pa.Schema | None, begin: int, end: int
) -> Iterator[Block]:
    """Parses lines at once; if that fails, halves of them, and finally one by one."""
    columns = _parse_at_once(lines.part(begin, end), end - begin, schema)
    if columns is not None:
        yield Block(columns, lines.numbers[begin:end], rejected_lines(source, lines, {}))
    elif end - begin <= _FEW:
        yield from _parse_one_by_one(source, lines, schema, begin, end)
    else:
        middle = (begin + end) // 2
        yield from _parse(source, lines, schema, begin, middle)
        yield from _parse(source, lines, schema, middle, end)


def _parse_at_once(
    data: bytes, rows: int, schema: pa.Schema | None
) -> dict[str, pa.Array] | None:
    try:
        table = _read_json(data, schema, 'ignore' if schema else 'infer')
        dates = (
            {}
            if schema
            else {
                field.name: _as_text(field.type)
                for field in table.schema
                if _as_text(field.type) != field.type
            }
        )
        if dates:
            table = _read_json(data, pa.schema(list(dates.items())))
    except pa.ArrowInvalid:
        return None
    columns = {
        name: pa.concat_arrays(table.column(name).chunks)
        for name in table.column_names
        if not pa.types.is_null(table.field(name).type)
    }
    if table.num_rows != rows or not all(map(_exact, columns.values())):
        return None
    return columns


def _read_json(data: bytes, schema: pa.Schema | None = None, others: str = 'infer') -> pa.Table:
    return pa.json.read_json(
        pa.BufferReader(data),
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pa.json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior=others
        ),
    )


def _as_text(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type):
        return pa.list_(pa.string())
    return kind


def _exact(column: pa.Array) -> bool:
    """Whether no integer was rounded to a float."""
    if not pa.types.is_floating(column.type):
        return True
    greatest = pc.max(pc.abs(column)).as_py()
    return greatest is None or not greatest >= _EXACT


def _too_deep(lines: Lines) -> list[int]:
    """The places of lines in which objects and lists are nested more than `_DEPTH` levels.

    Arrow's parser calls itself at every level, until it has no stack left.
    """
    raw = np.frombuffer(lines.data, np.uint8)
    opened = lines.with_byte(np.flatnonzero((raw == ord('[')) | (raw == ord('{'))))
    places = np.flatnonzero(opened > _DEPTH).tolist()
    return [
        place
        for place, text in zip(places, lines.texts(places), strict=True)
        if _depth(_STRING.sub('', text)) > _DEPTH
    ]


def _depth(text: str) -> int:
    """The number of brackets that are open at once; `text` has no strings."""
    steps = (1 if character in '[{' else -1 for character in text if character in '[]{}')
    return max(itertools.accumulate(steps), default=0)


def _parse_one_by_one(
    source: str, lines: Lines, schema: pa.Schema | None, begin: int, end: int
) -> Iterator[Block]:
    rows, invalid = [], {}
    numbers = []
    for place, text in enumerate(lines.texts(range(begin, end)), begin):
        try:
            row = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row if schema is None else {n: row.get(n) for n in schema.names})
            numbers.append(lines.numbers[place])
        else:
            invalid[place] = 'not a JSON object'
    # A column of texts cannot contain an object, as a block that is parsed at once can.
    nested = [any(map(_is_nested, row.values())) for row in rows]
    flat = [row for row, is_nested in zip(rows, nested, strict=True) if not is_nested]
    names = schema.names if schema else list(dict.fromkeys(n for row in rows for n in row))
    kept = np.array(numbers, np.int64)[~np.array(nested, bool)]
    columns = {name: _texts([row.get(name) for row in flat]) for name in names}
    yield Block(columns, kept, rejected_lines(source, lines, invalid))
    for number, row, is_nested in zip(numbers, rows, nested, strict=True):
        if is_nested:
            columns = {
                name: pa.array([{'json': json.dumps(value)}])
                if _is_nested(value)
                else _texts([value])
                for name, value in row.items()
            }
            yield Block(columns, np.array([number], np.int64), no_rejects())


def _is_nested(value: object) -> bool:
    """Whether a value is an object, or a list of objects or lists."""
    if isinstance(value, list):
        return any(isinstance(part, (dict, list)) for part in value)
    return isinstance(value, dict)


def _texts(values: Sequence[object]) -> pa.Array:
    """Values of any types as texts, or if there are lists as lists of texts."""
    if not any(isinstance(value, list) for value in values):
        return pa.array([_text(value) for value in values], pa.string())
    lists = [value if isinstance(value, list) or value is None else [value] for value in values]
    return pa.array(
        [None if value is None else [_text(part) for part in value] for value in lists],
        pa.list_(pa.string()),
    )


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        # A lone surrogate, which JSON can write and UTF-8 cannot.
        return value.encode('utf-8', 'replace').decode()
    if isinstance(value, float):
        return texts(pa.array([value]))[0][0].as_py()
    return json.dumps(value)

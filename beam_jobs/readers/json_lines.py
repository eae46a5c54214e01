"""JSON lines in blocks: one object a line. A line that is none is rejected, not its block."""

import json
import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from beam_jobs.files import BLOCK_BYTES, base_name, read_blocks
from beam_jobs.readers.base import Block, Shard, rejected_lines
from beam_jobs.readers.lines import NOT_UTF8, Lines

_FEW = 32  # lines that are read one by one where the block's parser stumbles
_EXACT = 2.0**53


def read_json_lines(shard: Shard, block_bytes: int = BLOCK_BYTES,
                    schema: pa.Schema | None = None) -> Iterator[Block]:
    """Reads a file, or a part of one, block by block.

    Columns have the types that the values of the block show; texts that look like dates stay
    texts. Where a field's values are of several types, those lines' values are all texts.

    Args:
        shard: of a file, plain or gzipped.
        block_bytes: about how much of the file is held at a time.
        schema: the fields that are read, where they are known; others are not even parsed.
            Lines in which they have other types give texts.

    Raises:
        UserError: of `beam_jobs.files.read_blocks`.
    """
    number, source = shard.first_line, base_name(shard.path)
    for data in read_blocks(shard.path, block_bytes, shard.begin, shard.end):
        lines = Lines.of(data, number)
        number += lines.total
        broken = lines.not_utf8()
        kept = np.ones(len(lines), bool)
        kept[broken] = False
        rejected = rejected_lines(source, lines,
                                  dict.fromkeys(broken.tolist(), NOT_UTF8))
        if len(broken):
            yield Block({}, np.zeros(0, np.int64), rejected)
        lines = lines.keep(kept)
        if len(lines):
            yield from _parse(source, lines, schema, 0, len(lines))


def _parse(source: str, lines: Lines, schema: pa.Schema | None, begin: int,
           end: int) -> Iterator[Block]:
    """Parses lines at once; where that fails halves of them, and at last one by one."""
    columns = _parse_at_once(lines.part(begin, end), end - begin, schema)
    if columns is not None:
        yield Block(columns, lines.numbers[begin:end], rejected_lines(source, lines, {}))
    elif end - begin <= _FEW:
        yield _parse_one_by_one(source, lines, schema, begin, end)
    else:
        middle = (begin + end) // 2
        yield from _parse(source, lines, schema, begin, middle)
        yield from _parse(source, lines, schema, middle, end)


def _parse_at_once(data: bytes, rows: int,
                   schema: pa.Schema | None) -> dict[str, pa.Array] | None:
    try:
        table = _read_json(data, schema, 'ignore' if schema else 'infer')
        dates = {} if schema else {field.name: _as_text(field.type) for field in table.schema
                 if _as_text(field.type) != field.type}
        if dates:
            table = _read_json(data, pa.schema(list(dates.items())))
    except pa.ArrowInvalid:
        return None
    columns = {name: pa.concat_arrays(table.column(name).chunks)
               for name in table.column_names if not pa.types.is_null(table.field(name).type)}
    if table.num_rows != rows or not all(map(_exact, columns.values())):
        return None
    return columns


def _read_json(data: bytes, schema: pa.Schema | None = None,
               others: str = 'infer') -> pa.Table:
    return pa.json.read_json(
        pa.BufferReader(data),
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pa.json.ParseOptions(
            explicit_schema=schema, unexpected_field_behavior=others))


def _as_text(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type):
        return pa.list_(pa.string())
    return kind


def _exact(column: pa.Array) -> bool:
    """Whether no integer became a float that may be another number."""
    if not pa.types.is_floating(column.type):
        return True
    greatest = pc.max(pc.abs(column)).as_py()
    return greatest is None or not greatest >= _EXACT


def _parse_one_by_one(source: str, lines: Lines, schema: pa.Schema | None, begin: int,
                      end: int) -> Block:
    rows, invalid = [], {}
    kept = np.zeros(len(lines), bool)
    for place, text in enumerate(lines.texts(range(begin, end)), begin):
        try:
            row = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
            kept[place] = True
        else:
            invalid[place] = 'not a JSON object'
    names = schema.names if schema else list(dict.fromkeys(n for row in rows for n in row))
    columns = {name: _texts([row.get(name) for row in rows]) for name in names}
    return Block(columns, lines.numbers[kept], rejected_lines(source, lines, invalid))


def _texts(values: list) -> pa.Array:
    """Values of any types as texts, or where there are lists as lists of texts."""
    if not any(isinstance(value, list) for value in values):
        return pa.array([_text(value) for value in values], pa.string())
    lists = [value if isinstance(value, list) or value is None else [value]
             for value in values]
    return pa.array([None if value is None else [_text(part) for part in value]
                     for value in lists], pa.list_(pa.string()))


def _text(value) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        # A lone surrogate, which JSON can write and UTF-8 cannot.
        return value.encode('utf-8', 'replace').decode()
    return json.dumps(value)

"""Columns of bytes as texts, and the rows whose bytes are not UTF-8."""

import numpy as np
import pyarrow as pa

from beam_jobs.readers.base import Block, no_rejects, rejects
from beam_jobs.readers.lines import NOT_UTF8
from beam_jobs.rows.cells import is_bytes, is_list, plain


def as_text(source: str, columns: dict[str, pa.Array], lines: np.ndarray) -> Block:
    """Converts every column of bytes to texts; rejects rows whose bytes are not UTF-8.

    Args:
        source: Name of the file for rejected rows.
        columns: Columns of any types; those of bytes or texts, or of lists of them, are
            checked.
        lines: Line of each row.
    """
    made: dict[str, pa.Array] = {}
    reasons: dict[int, str] = {}
    for name, column in columns.items():
        try:
            made[name] = _to_text(column)
        except pa.ArrowInvalid:
            for row in _bad_rows(column):
                reasons.setdefault(row, f'{name} {NOT_UTF8}')
    if not reasons:
        return Block(made, lines, no_rejects())
    kept = np.ones(len(lines), bool)
    kept[list(reasons)] = False
    mask, places = pa.array(kept), sorted(reasons)
    rows = [
        str({name: column[row].as_py() for name, column in columns.items()}) for row in places
    ]
    good = {name: _to_text(column.filter(mask)) for name, column in columns.items()}
    return Block(
        good,
        lines[kept],
        rejects(source, lines[places], [reasons[row] for row in places], rows),
    )


def _to_text(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _to_text(column.dictionary_decode())
    if is_list(kind):
        column = plain(column)
        if not _may_be_bytes(column.type.value_type):
            return column
        return column.cast(pa.list_(pa.binary())).cast(pa.list_(pa.string()))
    if not _may_be_bytes(kind):
        return column
    # From bytes, since a column that says it is text is not checked otherwise.
    return column.cast(pa.binary()).cast(pa.string())


def _may_be_bytes(kind: pa.DataType) -> bool:
    return is_bytes(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _bad_rows(column: pa.Array) -> list[int]:
    """Looks row by row, which is rarely needed."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_list(column.type):
        column = plain(column).cast(pa.list_(pa.binary()))
    else:
        column = column.cast(pa.binary())
    values = [value if isinstance(value, list) else [value] for value in column.to_pylist()]
    return [
        row
        for row, parts in enumerate(values)
        if any(part is not None and not _is_utf8(part) for part in parts)
    ]


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True

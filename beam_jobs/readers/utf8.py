"""Binary columns as texts, and the rows whose bytes are no text."""

import numpy as np
import pyarrow as pa

from beam_jobs.readers.base import Block, no_rejects, rejects
from beam_jobs.readers.lines import NOT_UTF8


def as_text(source: str, columns: dict[str, pa.Array], lines: np.ndarray) -> Block:
    """Makes every column of bytes one of texts; rows with bytes that are not UTF-8 go.

    Args:
        source: what rejected rows call the file.
        columns: of any types; those of bytes or texts, or of lists of them, are checked.
        lines: of the rows.
    """
    made, reasons = {}, {}
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
    rows = [str({name: column[row].as_py() for name, column in columns.items()})
            for row in places]
    good = {name: _to_text(column.filter(mask)) for name, column in columns.items()}
    return Block(good, lines[kept], rejects(source, lines[places],
                                            [reasons[row] for row in places], rows))


def _to_text(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _to_text(column.dictionary_decode())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if not _is_bytes(kind.value_type):
            return column
        return column.cast(pa.list_(pa.binary())).cast(pa.list_(pa.string()))
    if not _is_bytes(kind):
        return column
    # From bytes, since a column that says it is text is not checked otherwise.
    return column.cast(pa.binary()).cast(pa.string())


def _is_bytes(kind: pa.DataType) -> bool:
    return (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
            or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _bad_rows(column: pa.Array) -> list[int]:
    """Looks row by row: this is a rare path."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = column.cast(pa.list_(pa.binary()))
    else:
        column = column.cast(pa.binary())
    values = [value if isinstance(value, list) else [value] for value in column.to_pylist()]
    return [row for row, parts in enumerate(values)
            if any(part is not None and not _is_utf8(part) for part in parts)]


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True

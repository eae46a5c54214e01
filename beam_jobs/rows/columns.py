"""Columns of Arrow tables as single arrays.

In a sorted bucket (`beam_jobs.rows.bucket`), texts are dictionary-encoded: `codes` are the
row's indices into the column's distinct `values`.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def single_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array, copied only if it has several chunks."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)


def array(table: pa.Table, name: str) -> pa.Array:
    """The column `name` as one array."""
    return single_chunk(table.column(name))


def codes(table: pa.Table, name: str) -> np.ndarray:
    """The codes of a dictionary-encoded column; `int32[rows]`, -1 where missing."""
    return pc.fill_null(array(table, name).indices, -1).to_numpy(zero_copy_only=False)


def values(table: pa.Table, name: str) -> pa.Array:
    """The distinct values of a dictionary-encoded column, by code."""
    return array(table, name).dictionary


def encode_texts(table: pa.Table) -> pa.Table:
    """The table with its text columns dictionary-encoded."""
    columns = {}
    for name in table.column_names:
        column = array(table, name)
        text = pa.types.is_string(column.type)
        columns[name] = column.dictionary_encode() if text else column
    return pa.table(columns)


def decode_texts(table: pa.Table) -> pa.Table:
    """The table with its dictionary-encoded columns as plain ones."""
    columns = {}
    for name in table.column_names:
        column = array(table, name)
        text = pa.types.is_dictionary(column.type)
        columns[name] = column.dictionary_decode() if text else column
    return pa.table(columns)


def numbers(table: pa.Table, name: str) -> np.ndarray:
    """A numeric column, NaN where missing; `[rows]`."""
    return array(table, name).to_numpy(zero_copy_only=False)

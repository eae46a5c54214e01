"""Parquet files, one row group at a time."""

from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from beam_jobs.readers.base import Block, Shard
from beam_jobs.readers.raw_files import base_name, open_file
from beam_jobs.readers.utf8 import as_text
from beam_jobs.rows.cells import is_bytes, is_list
from mdctr.errors import UserError

ROWS = 1 << 16


def parquet_columns(path: str) -> list[str]:
    """The names of a file's columns.

    Raises:
        UserError: The file is not a Parquet file, or has two columns of one name.
    """
    with open_file(path) as file:
        return _opened(path, file).schema_arrow.names


def parquet_shards(paths: list[str]) -> list[Shard]:
    """A shard for each row group of the files, which must have the same columns.

    A column of several files may have different types, if they are all types of text, of
    numbers, of times or of lists.

    Raises:
        UserError: A file is not a Parquet file, or its schema differs from the first one's.
    """
    shards: list[Shard] = []
    first: dict[str, tuple[str, pa.DataType]] = {}
    for path in paths:
        with open_file(path) as file:
            parquet = _opened(path, file)
            _check_schema(path, parquet.schema_arrow, first)
            line = 1
            for group in range(parquet.num_row_groups):
                shards.append(Shard(path, group, line))
                line += parquet.metadata.row_group(group).num_rows
    return shards


def read_parquet(shard: Shard, columns: frozenset[str] | None = None) -> Iterator[Block]:
    """The rows of a row group; of all columns if None.

    Raises:
        UserError: The file is not a Parquet file, or is damaged.
    """
    with open_file(shard.path) as file:
        parquet = _opened(shard.path, file)
        names = [
            name for name in parquet.schema_arrow.names if columns is None or name in columns
        ]
        line = shard.first_line
        try:
            for batch in parquet.iter_batches(ROWS, [shard.part], names):
                lines = np.arange(line, line + batch.num_rows)
                line += batch.num_rows
                raw = dict(zip(batch.schema.names, batch.columns, strict=True))
                yield as_text(base_name(shard.path), raw, lines)
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f'{shard.path} is damaged ({_first_line(error)}): get it again.'
            ) from None


def _opened(path: str, file: IO[bytes]) -> pa.parquet.ParquetFile:
    try:
        parquet = pa.parquet.ParquetFile(file)
        names = parquet.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise UserError(f'{path} is not a Parquet file ({_first_line(error)}).') from None
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'{path} has two columns {name}: rename one of them.')
    return parquet


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip('.')


def _check_schema(
    path: str, schema: pa.Schema, first: dict[str, tuple[str, pa.DataType]]
) -> None:
    """Compares a file with those before it, and adds its columns.

    Args:
        path: The file.
        schema: Its schema.
        first: Of each column the first file in which it has values, and their type.
    """
    kinds = dict(zip(schema.names, schema.types, strict=True))
    for name, (earlier, kind) in first.items():
        if name not in kinds:
            raise UserError(
                f'{path} has another schema than {earlier}: it has no column {name}.'
            )
        if not _compatible(kinds[name], kind):
            raise UserError(
                f'{path} has another schema than {earlier}: its column {name} is '
                f'{kinds[name]}, not {kind}.'
            )
    for name, kind in kinds.items():
        if name not in first or pa.types.is_null(first[name][1]):
            first[name] = (path, kind)


def _compatible(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether values of both types may be cells of one column."""
    families = {_family(one), _family(other)}
    return len(families) == 1 or 'null' in families


def _family(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind) or is_list(kind):
        nested = _family(kind.value_type)
        return nested if pa.types.is_dictionary(kind) else f'list of {nested}'
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or is_bytes(kind):
        return 'text'
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return 'number'
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return 'time'
    return str(kind)

"""Parquet, a row group at a time."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from beam_jobs.errors import UserError
from beam_jobs.files import base_name, open_file
from beam_jobs.readers.base import Block, Shard
from beam_jobs.readers.utf8 import as_text

ROWS = 1 << 16


def parquet_shards(paths: list[str]) -> list[Shard]:
    """A shard for each row group of the files, which must share one schema.

    Raises:
        UserError: a file is no Parquet, or its schema differs from the first one's.
    """
    shards, first = [], None
    for path in paths:
        with open_file(path) as file:
            parquet = _opened(path, file)
            schema = parquet.schema_arrow.remove_metadata()
            first = first or schema
            _check_schema(path, schema, paths[0], first)
            line = 1
            for group in range(parquet.num_row_groups):
                shards.append(Shard(path, group, line))
                line += parquet.metadata.row_group(group).num_rows
    return shards


def read_parquet(shard: Shard, columns: frozenset[str] | None = None) -> Iterator[Block]:
    """The rows of a row group, of the columns that are wanted (all when None).

    Raises:
        UserError: the file is no Parquet, or is damaged.
    """
    with open_file(shard.path) as file:
        parquet = _opened(shard.path, file)
        names = [name for name in parquet.schema_arrow.names
                 if columns is None or name in columns]
        line = shard.first_line
        try:
            for batch in parquet.iter_batches(ROWS, [shard.part], names):
                lines = np.arange(line, line + batch.num_rows)
                line += batch.num_rows
                raw = dict(zip(batch.schema.names, batch.columns, strict=True))
                yield as_text(base_name(shard.path), raw, lines)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f'{shard.path} is damaged ({_first_line(error)}): get it '
                            'again.') from None


def _opened(path: str, file) -> pa.parquet.ParquetFile:
    try:
        return pa.parquet.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f'{path} is no Parquet file ({_first_line(error)}).') from None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip('.')


def _check_schema(path: str, schema: pa.Schema, first_path: str, first: pa.Schema) -> None:
    kinds = dict(zip(schema.names, schema.types, strict=True))
    for name, kind in zip(first.names, first.types, strict=True):
        if name not in kinds:
            raise UserError(f'{path} has another schema than {first_path}: it has no column '
                            f'{name}.')
        if kinds[name] != kind:
            raise UserError(f'{path} has another schema than {first_path}: its column {name} '
                            f'is {kinds[name]}, not {kind}.')

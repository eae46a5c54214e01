"""A user's own log: CSV, Parquet, JSON lines or TFRecord, its columns mapped to ours."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from beam_jobs.readers.base import (
    Block,
    JoinCount,
    RawBatch,
    Reader,
    Shard,
    need_inputs,
    raw_batch,
    reject_rows,
    text_shards,
    with_timestamps,
)
from beam_jobs.readers.delimited import Dialect, read_delimited
from beam_jobs.readers.json_lines import read_json_lines
from beam_jobs.readers.parquet import parquet_columns, parquet_shards, read_parquet
from beam_jobs.readers.raw_files import base_name, expand
from beam_jobs.readers.tables import KeyedTable
from beam_jobs.readers.tfrecord import read_tfrecord
from beam_jobs.readers.values import constant, split_single_values
from beam_jobs.rows.cells import is_list, is_missing, texts
from beam_jobs.rows.columns import array
from beam_jobs.rows.timestamps import (
    check_format,
    formatted_seconds,
    iso_seconds,
    numeric_seconds,
    temporal_seconds,
)
from mdctr.errors import UserError
from mdctr.settings import Settings

_ENDINGS = {
    '.csv': 'csv',
    '.tsv': 'csv',
    '.txt': 'csv',
    '.parquet': 'parquet',
    '.json': 'jsonl',
    '.jsonl': 'jsonl',
    '.ndjson': 'jsonl',
    '.tfrecord': 'tfrecord',
    '.tfrecords': 'tfrecord',
}
_PER_SECOND = {'s': 1, 'ms': 1000, 'us': 1_000_000}
Format = Literal['csv', 'parquet', 'jsonl', 'tfrecord']


class TableOptions(Settings):
    """A table with one row per key, which is joined to the log; it is held in memory."""

    path: str = Field(description='File of the table.')
    on: str = Field(description='Column of the log, after renaming, that holds the key.')
    key: str | None = Field(
        default=None,
        description='Column of the table that holds the key; that of the log if absent.',
    )
    format: Format | None = Field(
        default=None, description="Format of the file; by the file's name if absent."
    )
    max_unmatched_fraction: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Fraction of the log's rows without a row in the table above which the "
        'build fails; above 0.9 there is a warning in any case.',
    )


class GenericOptions(Settings):
    """Options of the reader `generic`: the layout of a log."""

    format: Format | None = Field(
        default=None,
        description="Format of the files; by the files' names, without an ending `.gz`, if "
        'absent.',
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description='Column of the log by our name, for `user_id`, `item_id`, `timestamp`, '
        '`click` and any other column; a column that is not listed keeps its name.',
    )
    timestamp_unit: Literal['s', 'ms', 'us', 'iso', 'none'] = Field(
        default='s',
        description='`s`, `ms` or `us` since 1970 UTC, or `iso` for dates and times that are '
        'written as ISO 8601 (UTC unless they have an offset). Other timestamps are rejected. '
        '`none` if the log has no timestamps: for a random split, or inputs by split.',
    )
    timestamp_format: str | None = Field(
        default=None,
        description="Format of written timestamps in Python's strptime notation, such as "
        '`%d/%m/%Y %H:%M` or `%y%m%d%H`; UTC unless it has `%z`. It excludes `timestamp_unit`.',
    )
    positives_only: bool = Field(
        default=False,
        description='Whether every row is a click; the log then has no click column.',
    )
    separator: str = Field(
        default=',', min_length=1, description='Separator of the fields of CSV.'
    )
    quote: str = Field(
        default='"',
        max_length=1,
        description='Character around values of CSV; empty if quotes are plain text.',
    )
    escape: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description='Character of CSV before a quote that is part of a quoted value, such as '
        '`\\`; without it, such a quote is doubled.',
    )
    column_names: list[str] | None = Field(
        default=None, description='Names of the columns of CSV files without a header.'
    )
    list_columns: list[str] = Field(
        default_factory=list, description='Text columns that hold lists.'
    )
    list_separator: str = Field(
        default='|', min_length=1, description='Separator of the values of a list.'
    )
    tables: list[TableOptions] = Field(
        default_factory=list, description='Tables that are joined to the log.'
    )

    @model_validator(mode='after')
    def _check_columns(self) -> Self:
        if len(set(self.columns.values())) != len(self.columns):
            raise ValueError('columns: two names refer to the same column of the log.')
        if self.timestamp_format is not None:
            if 'timestamp_unit' in self.model_fields_set:
                raise ValueError('timestamp_unit and timestamp_format exclude each other.')
            check_format(self.timestamp_format)
        return self

    @property
    def dialect(self) -> Dialect:
        return Dialect(
            self.separator,
            self.quote or None,
            None if self.column_names is None else tuple(self.column_names),
            escape=self.escape,
        )


class GenericReader(Reader):
    """Columns: those of the log under our names, then those of the tables."""

    name = 'generic'
    Options = GenericOptions

    def __init__(
        self,
        inputs: Sequence[str] | None,
        options: GenericOptions,
        cache: str,
        columns: Iterable[str] | None = None,
    ):
        super().__init__(inputs, options, cache, columns)
        self._patterns = need_inputs(self.inputs, self.name, 'the files of a log')
        self._options = options
        self._ours = {theirs: ours for ours, theirs in self._options.columns.items()}

    @property
    def has_timestamps(self) -> bool:
        return self._options.timestamp_unit != 'none'

    def files(self) -> list[str]:
        return [*self._logs, *self._table_paths]

    def shards(self) -> list[Shard]:
        _ = self._expected  # found once here, not by every worker
        formats = {_format(path, self._options.format) for path in self._logs}
        if len(formats) > 1:
            raise UserError(
                f'{", ".join(self._patterns)} mixes {" and ".join(sorted(formats))} '
                'files: name those of one format.'
            )
        if formats == {'parquet'}:
            return parquet_shards(self._logs)
        if formats == {'tfrecord'}:
            return [Shard(path) for path in self._logs]
        return text_shards(self._logs)

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        tables = [
            (table, self.table(path, self._load_table(table)))
            for table, path in zip(self._options.tables, self._table_paths, strict=True)
        ]
        for block in self._blocks(shard, self._projection()):
            columns = self._canonical(shard.path, block)
            joins = []
            for options, table in tables:
                on = options.on
                if on not in columns:
                    raise UserError(
                        f'{shard.path} has no column {on}, on which a table is '
                        f'joined; it has {", ".join(columns)}.'
                    )
                place = table.rows_of(texts(columns[on])[0])
                joins.append(
                    JoinCount(
                        f'{base_name(options.path)} (joined on {on})',
                        len(place),
                        place.null_count,
                        options.max_unmatched_fraction,
                    )
                )
                joined = table.take(place, self.wants)
                twice = joined.keys() & columns.keys()
                if twice:
                    raise UserError(
                        f'The column {min(twice)} is in the log and in a table '
                        'that is joined to it: rename one in dataset.reader_options.'
                    )
                columns |= joined
            batch = raw_batch(base_name(shard.path), block.lines, columns, block.rejected)
            yield self._read_timestamps(batch)._replace(joins=tuple(joins))

    def _read_timestamps(self, batch: RawBatch) -> RawBatch:
        """The batch with its timestamps in seconds; rows in which they are not are rejected."""
        column = batch.rows.column(batch.rows.schema.get_field_index('timestamp'))
        unit, time_format = self._options.timestamp_unit, self._options.timestamp_format
        if (temporal := temporal_seconds(column)) is not None:
            (seconds, invalid), reason = temporal, 'timestamp not a time'
        elif time_format is not None:
            seconds, invalid = formatted_seconds(column, time_format)
            reason = f'timestamp not in the format {time_format}'
        elif unit == 'iso':
            seconds, invalid = iso_seconds(column)
            reason = 'timestamp not in ISO 8601 (see timestamp_format)'
        else:
            seconds, invalid = numeric_seconds(column, _PER_SECOND.get(unit, 1))
            reason = 'timestamp not a number (see timestamp_unit)'
        return with_timestamps(reject_rows(batch, invalid, reason), seconds[~invalid])

    def log_columns(self) -> list[str]:
        return self._expected

    def _blocks(self, shard: Shard, columns: frozenset[str] | None = None) -> Iterator[Block]:
        return _read(
            shard, _format(shard.path, self._options.format), self._options.dialect, columns
        )

    def _projection(self) -> frozenset[str] | None:
        """The log's columns that are needed; None for all, where one might be missing."""
        if self._columns is None or self._options.tables:
            return None
        wanted = self._columns | {'user_id', 'item_id', 'timestamp', 'click'}
        theirs = {self._options.columns.get(name, name) for name in wanted}
        spared = {'hour', 'weekday'} | ({'click'} if self._options.positives_only else set())
        spared |= set() if self.has_timestamps else {'timestamp'}
        return None if theirs - set(self._expected) - spared else frozenset(theirs)

    @functools.cached_property
    def _logs(self) -> list[str]:
        return expand(self._patterns)

    @functools.cached_property
    def _table_paths(self) -> list[str]:
        return [expand([table.path])[0] for table in self._options.tables]

    @functools.cached_property
    def _expected(self) -> list[str]:
        """The columns of the first rows; JSON lines and examples omit missing values.

        A column that the first rows lack is missing; one that only later rows lack is null
        there.
        """
        for path in self._logs:
            if _format(path, self._options.format) == 'parquet':
                return parquet_columns(path)
            for block in self._blocks(Shard(path)):
                if block.columns:
                    return list(block.columns)
        return []

    def _canonical(self, path: str, block: Block) -> dict[str, pa.Array]:
        """The columns of a block under our names."""
        raw, rows, options = block.columns, len(block.lines), self._options
        wanted = self._projection()
        names = [name for name in self._expected if wanted is None or name in wanted]
        self._check_names(path, names, raw)
        columns = {
            self._ours.get(name, name): _or_nulls(raw.get(name), rows)
            for name in dict.fromkeys([*names, *raw])
        }
        if options.positives_only:
            columns['click'] = constant(1, rows)
        if not self.has_timestamps:
            columns['timestamp'] = constant(0, rows)
        for name in ('user_id', 'item_id', 'timestamp', 'click'):
            if name not in columns:
                raise UserError(
                    f'{path} has no column {name}: say which of its columns '
                    f'({", ".join(columns)}) it is in dataset.reader_options.columns.'
                )
        for name in options.list_columns:
            if name in columns:
                columns[name] = split_single_values(columns[name], options.list_separator)
        return {
            name: column for name, column in columns.items() if name not in ('source', 'line')
        }

    def _check_names(self, path: str, names: list[str], raw: dict[str, pa.Array]) -> None:
        lacking = [name for name in names if name not in raw]
        if lacking and _format(path, self._options.format) == 'csv':
            raise UserError(
                f'{path} has another header than {self._logs[0]}: it has no column '
                f'{lacking[0]}.'
            )
        for ours, theirs in self._options.columns.items():
            if theirs not in raw and theirs not in self._expected:
                raise UserError(
                    f'{path} has no column {theirs} (dataset.reader_options.columns.'
                    f'{ours}); it has {", ".join(self._expected)}.'
                )

    def _load_table(self, table: TableOptions) -> Callable[[str], KeyedTable]:
        def load(path: str) -> KeyedTable:
            kind = _format(path, table.format)
            shards = parquet_shards([path]) if kind == 'parquet' else [Shard(path)]
            key, parts = table.key or table.on, []
            for shard in shards:
                for block in _read(
                    shard, kind, dataclasses.replace(self._options.dialect, names=None)
                ):
                    if block.rejected.num_rows:
                        _, line, reason, _ = (c[0].as_py() for c in block.rejected.columns)
                        raise UserError(f'{path}, row {line}: {reason}: fix or remove it.')
                    parts.append(_comparable(block.columns))
            whole = pa.concat_tables(parts, promote=True) if parts else pa.table({key: []})
            if key not in whole.column_names:
                raise UserError(
                    f'{path} has no column {key}, its key in dataset.reader_options.'
                    f'tables; it has {", ".join(whole.column_names)}.'
                )
            for name in set(self._options.list_columns) & set(whole.column_names):
                column = split_single_values(array(whole, name), self._options.list_separator)
                whole = whole.set_column(whole.column_names.index(name), name, column)
            keys, _ = texts(array(whole, key))
            whole = whole.set_column(whole.column_names.index(key), key, keys)
            whole = whole.filter(pa.array(~is_missing(keys)))
            if not whole.num_rows:
                raise UserError(
                    f'{path}, a table of dataset.reader_options.tables, has no row with a key.'
                )
            return KeyedTable(whole, key)

        return load


def _or_nulls(column: pa.Array | None, rows: int) -> pa.Array:
    if column is None or pa.types.is_null(column.type):
        return pa.nulls(rows, pa.string())
    return column


def _comparable(columns: dict[str, pa.Array]) -> pa.Table:
    """A table of a block of JSON lines, whose columns have the types of the block's values.

    Numbers and truth values become texts, so that the blocks of a file have one schema.
    """
    return pa.table(
        {
            name: column if is_list(column.type) else texts(column)[0]
            for name, column in columns.items()
        }
    )


def _read(
    shard: Shard, kind: str, dialect: Dialect, columns: frozenset[str] | None = None
) -> Iterator[Block]:
    """The rows of a shard; of JSON and examples all columns, whatever `columns` says."""
    if kind == 'parquet':
        return read_parquet(shard, columns)
    if kind == 'jsonl':
        return read_json_lines(shard)
    if kind == 'tfrecord':
        return read_tfrecord(shard.path)
    return read_delimited(shard, dialect, columns)


def _format(path: str, given: str | None) -> str:
    if given is not None:
        return given
    name = base_name(path).removesuffix('.gz')
    for ending, kind in _ENDINGS.items():
        if name.endswith(ending):
            return kind
    raise UserError(
        f'{path} does not show its format: set dataset.reader_options.format to csv, '
        'parquet, jsonl or tfrecord.'
    )

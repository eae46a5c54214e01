"""A user's own log: CSV, Parquet, JSON lines or TFRecord, its columns mapped to ours."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.errors import UserError
from beam_jobs.files import base_name, expand
from beam_jobs.options import from_mapping
from beam_jobs.readers.base import (
    Block,
    RawBatch,
    Reader,
    Shard,
    need_inputs,
    raw_batch,
    text_shards,
)
from beam_jobs.readers.delimited import Dialect, read_delimited
from beam_jobs.readers.json_lines import read_json_lines
from beam_jobs.readers.parquet import parquet_shards, read_parquet
from beam_jobs.readers.tables import KeyedTable
from beam_jobs.readers.tfrecord import read_tfrecord
from beam_jobs.readers.values import constant, seconds, split_lists

_ENDINGS = {'.csv': 'csv', '.tsv': 'csv', '.txt': 'csv', '.parquet': 'parquet',
            '.json': 'jsonl', '.jsonl': 'jsonl', '.ndjson': 'jsonl', '.tfrecord': 'tfrecord',
            '.tfrecords': 'tfrecord'}
_PER_SECOND = {'s': 1, 'ms': 1000, 'us': 1000000}
Format = Literal['csv', 'parquet', 'jsonl', 'tfrecord']


@dataclass(frozen=True)
class TableOptions:
    """A table of properties, one row a key, that is joined to the log; it is held in memory.

    Attributes:
        path: the file.
        on: the column of the log, by our name, that holds the key.
        key: the column of the table that holds it; the same name when absent.
        format: of the file; by its name when absent.
    """

    path: str
    on: str
    key: str | None = None
    format: Format | None = None


@dataclass(frozen=True)
class Options:
    """What a log looks like.

    Attributes:
        format: by the files' names when absent; an ending `.gz` is looked through.
        columns: our name to the log's, for `user_id`, `item_id`, `timestamp`, `click` and
            any other column; a column that is not here keeps its name.
        timestamp_unit: `s`, `ms` or `us` since 1970 UTC, or `iso` for written times.
        positives_only: every row is a click, and there is no click column.
        separator, quote, header: of CSV: between fields, around values (empty: quotes are
            plain text), and the fields' names where the files do not begin with them.
        lists: columns of texts that are lists, and `list_separator` between their values.
        tables: joined to the log.
    """

    format: Format | None = None
    columns: dict[str, str] = field(default_factory=dict)
    timestamp_unit: Literal['s', 'ms', 'us', 'iso'] = 's'
    positives_only: bool = False
    separator: str = ','
    quote: str = '"'
    header: list[str] | None = None
    lists: list[str] = field(default_factory=list)
    list_separator: str = '|'
    tables: list[TableOptions] = field(default_factory=list)

    def __post_init__(self):
        if not self.separator or not self.list_separator:
            raise ValueError('separator and list_separator need a character.')
        if len(self.quote) > 1:
            raise ValueError('quote must be one character, or empty.')
        if len(set(self.columns.values())) != len(self.columns):
            raise ValueError('columns: two names stand for the same column of the log.')

    @property
    def dialect(self) -> Dialect:
        return Dialect(self.separator, self.quote or None,
                       None if self.header is None else tuple(self.header))


class GenericReader(Reader):
    """Columns: those of the log under our names, then those of the tables."""

    name = 'generic'

    def __init__(self, inputs, options, cache, columns=None):
        super().__init__(inputs, options, cache, columns)
        need_inputs(self.inputs, self.name, 'the files of a log')
        self._options = from_mapping(Options, options, 'dataset.options')
        self._ours = {theirs: ours for ours, theirs in self._options.columns.items()}
        self._logs = None
        self._expected = None

    def files(self) -> list[str]:
        if self._logs is None:
            self._logs = expand(self.inputs)
        return [*self._logs, *(expand([table.path])[0] for table in self._options.tables)]

    def shards(self) -> list[Shard]:
        self._expect()
        formats = {_format(path, self._options.format) for path in self._logs}
        if len(formats) > 1:
            raise UserError(f'{", ".join(self.inputs)} mixes {" and ".join(sorted(formats))} '
                            'files: name those of one format.')
        if formats == {'parquet'}:
            return parquet_shards(self._logs)
        if formats == {'tfrecord'}:
            return [Shard(path) for path in self._logs]
        return text_shards(self._logs)

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        self._expect()
        tables = [(table.on, self.table(table.path, self._load_table(table)))
                  for table in self._options.tables]
        for block in self._blocks(shard, self._projection()):
            columns = self._canonical(shard.path, block)
            for on, table in tables:
                if on not in columns:
                    raise UserError(f'{shard.path} has no column {on}, on which a table is '
                                    f'joined; it has {", ".join(columns)}.')
                joined = table.join(columns[on].cast(pa.string()), self.wants)
                twice = joined.keys() & columns.keys()
                if twice:
                    raise UserError(f'The column {min(twice)} is in the log and in a table '
                                    'that is joined to it: rename one in dataset.options.')
                columns |= joined
            yield raw_batch(base_name(shard.path), block.lines, columns, block.rejected)

    def _blocks(self, shard: Shard, columns: frozenset[str] | None = None) -> Iterator[Block]:
        return _read(shard, _format(shard.path, self._options.format), self._options.dialect,
                     columns)

    def _projection(self) -> frozenset[str] | None:
        """The log's columns that are needed; None for all, where one might be missing."""
        if self._columns is None or self._options.tables:
            return None
        wanted = self._columns | {'user_id', 'item_id', 'timestamp', 'click'}
        theirs = {self._options.columns.get(name, name) for name in wanted}
        spared = {'hour', 'weekday'} | ({'click'} if self._options.positives_only else set())
        return None if theirs - set(self._expected) - spared else frozenset(theirs)

    def _expect(self) -> None:
        """Notes the columns of the log's beginning: JSON and examples leave out missing ones.

        A column that the first rows lack is missing; one that only later rows lack is null
        there.
        """
        if self._expected is not None:
            return
        self.files()
        self._expected = []
        for block in self._blocks(Shard(self._logs[0])):
            self._expected = list(block.columns)
            if self._expected:
                break

    def _canonical(self, path: str, block: Block) -> dict[str, pa.Array]:
        """The columns of a block under our names."""
        raw, rows, options = block.columns, len(block.lines), self._options
        wanted = self._projection()
        names = [name for name in self._expected if wanted is None or name in wanted]
        self._check_names(path, names, raw)
        columns = {self._ours.get(name, name): _or_nulls(raw.get(name), rows)
                   for name in dict.fromkeys([*names, *raw])}
        if options.positives_only:
            columns['click'] = constant(1, rows)
        for name in ('user_id', 'item_id', 'timestamp', 'click'):
            if name not in columns:
                raise UserError(f'{path} has no column {name}: say which of its columns '
                                f'({", ".join(columns)}) it is in dataset.options.columns.')
        columns['timestamp'] = _in_seconds(columns['timestamp'], options.timestamp_unit)
        for name in options.lists:
            if name in columns and pa.types.is_string(columns[name].type):
                columns[name] = split_lists(columns[name], options.list_separator)
        return {name: column for name, column in columns.items()
                if name not in ('source', 'line')}

    def _check_names(self, path: str, names: list[str], raw: dict[str, pa.Array]) -> None:
        lacking = [name for name in names if name not in raw]
        if lacking and _format(path, self._options.format) == 'csv':
            raise UserError(f'{path} has another header than {self._logs[0]}: it has no column '
                            f'{lacking[0]}.')
        for ours, theirs in self._options.columns.items():
            if theirs not in raw and theirs not in self._expected:
                raise UserError(f'{path} has no column {theirs} (dataset.options.columns.'
                                f'{ours}); it has {", ".join(self._expected)}.')

    def _load_table(self, table: TableOptions):
        def load(path: str) -> KeyedTable:
            kind = _format(path, table.format)
            shards = parquet_shards([path]) if kind == 'parquet' else [Shard(path)]
            key, parts = table.key or table.on, []
            for shard in shards:
                for block in _read(shard, kind, dataclasses.replace(
                        self._options.dialect, names=None)):
                    if block.rejected.num_rows:
                        _, line, reason, _ = (c[0].as_py() for c in block.rejected.columns)
                        raise UserError(f'{path}, row {line}: {reason}: mend or remove it.')
                    parts.append(pa.table(block.columns))
            whole = pa.concat_tables(parts, promote=True)
            if key not in whole.column_names:
                raise UserError(f'{path} has no column {key}, its key in dataset.options.'
                                f'tables; it has {", ".join(whole.column_names)}.')
            for name in set(self._options.lists) & set(whole.column_names):
                if pa.types.is_string(whole.schema.field(name).type):
                    whole = whole.set_column(
                        whole.column_names.index(name), name,
                        split_lists(whole.column(name).combine_chunks(),
                                    self._options.list_separator))
            place = whole.column_names.index(key)
            whole = whole.set_column(place, key, whole.column(key).cast(pa.string()))
            return KeyedTable(whole.filter(pc.is_valid(whole.column(key))), key)
        return load


def _or_nulls(column: pa.Array | None, rows: int) -> pa.Array:
    if column is None or pa.types.is_null(column.type):
        return pa.nulls(rows, pa.string())
    return column


def _read(shard: Shard, kind: str, dialect: Dialect,
          columns: frozenset[str] | None = None) -> Iterator[Block]:
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
    raise UserError(f'{path} does not show its format: set dataset.options.format to csv, '
                    'parquet, jsonl or tfrecord.')


def _in_seconds(times: pa.Array, unit: str) -> pa.Array:
    if unit == 'iso' or pa.types.is_temporal(times.type):
        return times
    if pa.types.is_integer(times.type) or pa.types.is_floating(times.type):
        return pc.divide(times.cast(pa.float64()), pa.scalar(float(_PER_SECOND[unit])))
    return seconds(times, _PER_SECOND[unit])

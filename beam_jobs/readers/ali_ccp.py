"""Ali-CCP: impressions of Taobao's recommender with clicks; the scenario is the domain.

Ma et al., Entire Space Multi-Task Model, SIGIR 2018. The published files have no header:

    sample_skeleton_{train,test}.csv   sample, click, conversion, common features, count,
                                       features
    common_features_{train,test}.csv   common features, count, features

where features are joined by 0x01, and each is a field, 0x02, a value, 0x03, a weight. The
fields: 101 user; 121, 122, 124 to 129 of the user; 109_14, 110_14, 127_14, 150_14 the user's
past behaviour (categories, shops, brands, intentions); 205 item; 206, 207, 210, 216 its
category, shop, intentions and brand; 508, 509, 702, 853 combinations; 301 the scenario.
Weights are not read. The conversion happens after the click and is never a column.

The data has no timestamps. Rows of the training files are given the day 1970-01-01, every tenth
of them the day after, for validation, and rows of the test files 1970-01-03, a millisecond per
line: this keeps impressions apart and lets `days` split them as published. It is not their
order in time, so features of kind `history` would be meaningless.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from beam_jobs.readers.base import (
    RawBatch,
    Reader,
    Shard,
    need_inputs,
    raw_batch,
    rejects,
    text_shards,
)
from beam_jobs.readers.delimited import Dialect, read_delimited
from beam_jobs.readers.raw_files import base_name, expand
from beam_jobs.readers.tables import KeyedTable
from beam_jobs.readers.values import first_of, split_lists
from mdctr.errors import UserError
from mdctr.settings import Settings

_SKELETON = Dialect(',', None, ('sample', 'click', 'conversion', 'common', 'count', 'features'))
_COMMON = Dialect(',', None, ('common', 'count', 'features'))
_COMMON_FIELDS = (
    '101',
    '121',
    '122',
    '124',
    '125',
    '126',
    '127',
    '128',
    '129',
    '109_14',
    '110_14',
    '127_14',
    '150_14',
)
_OWN_FIELDS = ('205', '206', '207', '210', '216', '508', '509', '702', '853', '301')
_LISTS = ('109_14', '110_14', '127_14', '150_14', '210')
_NAMES = {'101': 'user_id', '205': 'item_id'}
_FEATURE = '^[^\x02\x03]+\x02[^\x02\x03]+\x03[^\x02\x03]+$'
_PARTS = {'train': 0, 'test': 2 * 86400}


class AliCcpOptions(Settings):
    """Options of the reader `ali-ccp`."""

    max_length: int = Field(default=50, ge=1, description='Maximum number of values of a list.')
    validation_every: int = Field(
        default=10,
        ge=0,
        description='One of this many training rows is a validation row; 0 for none.',
    )


class AliCcpReader(Reader):
    """Columns: user_id, item_id, timestamp, click, and the other fields by their numbers:
    lists where they may have several values (109_14, 110_14, 127_14, 150_14, 210).
    """

    name = 'ali-ccp'
    Options = AliCcpOptions

    def __init__(
        self,
        inputs: Sequence[str] | None,
        options: AliCcpOptions,
        cache: str,
        columns: Iterable[str] | None = None,
    ):
        super().__init__(inputs, options, cache, columns)
        self._options = options

    def files(self) -> list[str]:
        return [path for paths in self._found.values() for path in paths]

    def shards(self) -> list[Shard]:
        return text_shards(paths[0] for paths in self._found.values())

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        part, paths = next(item for item in self._found.items() if item[1][0] == shard.path)
        common = self.table(paths[1], self._load_common)
        source = base_name(shard.path)
        for block in read_delimited(shard, _SKELETON):
            bad, features = self._fields(block.columns['features'], _OWN_FIELDS)
            lines = block.lines
            columns = {
                'click': block.columns['click'],
                **features,
                **common.join(block.columns['common'], lambda name: True),
                'timestamp': pa.array(self._times(part, lines)),
            }
            rejected = block.rejected
            if bad.any():
                raw = [
                    ','.join(row.values())
                    for row in pa.table(block.columns).filter(pa.array(bad)).to_pylist()
                ]
                found = rejects(source, lines[bad], ['features malformed'] * len(raw), raw)
                rejected = pa.Table.from_batches([rejected, found]).combine_chunks()
                rejected = rejected.to_batches()[0]
                keep = pa.array(~bad)
                columns = {name: column.filter(keep) for name, column in columns.items()}
                lines = lines[~bad]
            yield raw_batch(source, lines, columns, rejected)

    def _times(self, part: str, lines: np.ndarray) -> np.ndarray:
        seconds = _PARTS[part] + lines / 1000
        if part == 'train' and self._options.validation_every:
            seconds += np.where(lines % self._options.validation_every == 0, 86400, 0)
        return seconds

    @functools.cached_property
    def _found(self) -> dict[str, tuple[str, str]]:
        """Skeleton and common features by part, of the parts whose files exist."""
        inputs = need_inputs(self.inputs, self.name, 'the files of Ali-CCP')
        names = {base_name(path).removesuffix('.gz'): path for path in expand(inputs)}
        found = {}
        for part in _PARTS:
            skeleton = names.get(f'sample_skeleton_{part}.csv')
            common = names.get(f'common_features_{part}.csv')
            if skeleton and common:
                found[part] = (skeleton, common)
        if not found:
            raise UserError(
                f'{", ".join(inputs)} does not contain sample_skeleton_train.csv with its '
                'common_features_train.csv, or those of test.'
            )
        return found

    def _load_common(self, path: str) -> KeyedTable:
        parts = []
        for block in read_delimited(Shard(path), _COMMON):
            bad, features = self._fields(block.columns['features'], _COMMON_FIELDS)
            if block.rejected.num_rows or bad.any():
                line = (
                    block.rejected.column(1)[0].as_py()
                    if block.rejected.num_rows
                    else block.lines[bad][0]
                )
                raise UserError(
                    f'{path}, line {line}: not a row of common features; fix or remove it.'
                )
            parts.append(pa.table({'common': block.columns['common'], **features}))
        return KeyedTable(pa.concat_tables(parts), 'common')

    def _fields(
        self, texts: pa.Array, names: tuple[str, ...]
    ) -> tuple[np.ndarray, dict[str, pa.Array]]:
        """The wanted fields of lists of features, and which rows are malformed."""
        lists = split_lists(texts, '\x01')
        parents = pc.list_parent_indices(lists).to_numpy()
        parts = pc.list_flatten(lists)
        whole = pc.match_substring_regex(parts, _FEATURE).to_numpy(zero_copy_only=False)
        bad = np.zeros(len(texts), bool)
        bad[parents[~whole]] = True
        good = whole & ~bad[parents]
        split = pc.split_pattern_regex(parts.filter(pa.array(good)), '[\x02\x03]')
        flat, parents = split.flatten(), parents[good]
        fields = flat.take(pa.array(np.arange(0, len(flat), 3)))
        values = flat.take(pa.array(np.arange(1, len(flat), 3)))
        columns = {}
        for field in names:
            name = _NAMES.get(field, field)
            if name == field and not self.wants(field):
                continue
            mask = pc.equal(fields, field).to_numpy(zero_copy_only=False)
            found = _lists(
                values.filter(pa.array(mask)),
                parents[mask],
                len(texts),
                self._options.max_length,
            )
            columns[name] = found if field in _LISTS else first_of(found)
        return bad, columns


def _lists(values: pa.Array, parents: np.ndarray, rows: int, length: int) -> pa.Array:
    first = np.searchsorted(parents, parents)
    keep = np.arange(len(parents)) - first < length
    counts = np.bincount(parents[keep], minlength=rows)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.filter(pa.array(keep)))

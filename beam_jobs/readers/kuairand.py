"""KuaiRand: impressions of a short-video app; the tab they appeared in is the domain.

Gao et al., KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed
Videos, CIKM 2022. Read are the published files of Pure, 1K and 27K, plain or gzipped:
`log_standard_*.csv`, `log_random_*.csv`, `user_features_*.csv` and
`video_features_basic_*.csv`.

What the log notes of the time after the impression (how long the video played, likes,
follows, comments, forwards, ...) is not read at all, and no more are the videos' statistics,
which count days that come after. The users' properties are a snapshot, taken as given.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.errors import UserError
from beam_jobs.files import base_name, expand
from beam_jobs.options import from_mapping
from beam_jobs.readers.base import RawBatch, Reader, Shard, need_inputs, raw_batch, text_shards
from beam_jobs.readers.delimited import Dialect, read_delimited, read_small
from beam_jobs.readers.tables import KeyedTable
from beam_jobs.readers.values import days, first_of, seconds, split_lists

_LOG = {'user_id': 'user_id', 'video_id': 'item_id', 'time_ms': 'timestamp',
        'is_click': 'click', 'tab': 'tab', 'is_rand': 'is_rand', 'duration_ms': 'duration_ms'}
_CHINA = 8 * 3600  # upload days are days there
_DAY = 86400


@dataclass(frozen=True)
class Options:
    """Attributes: logs: the standard log, the log of random exposures, or both."""

    logs: Literal['standard', 'random', 'both'] = 'standard'


class KuaiRandReader(Reader):
    """Columns: user_id, item_id (the video), timestamp, click, tab, is_rand, duration_ms (of
    the video), every user feature by its published name, every basic video feature too, of
    which `tag` is a list, first_tag, and video_age_days: whole days from the upload to the
    impression.
    """

    name = 'kuairand'

    def __init__(self, inputs, options, cache, columns=None):
        super().__init__(inputs, options, cache, columns)
        self._which = from_mapping(Options, options, 'dataset.options').logs
        self._found = None

    def files(self) -> list[str]:
        found = self._find()
        return [path for paths in found.values() for path in paths]

    def shards(self) -> list[Shard]:
        return text_shards(self._find()['log_'])

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        found = self._find()
        users = self.table(found['user_features_'][0], self._load_users)
        videos = self.table(found['video_features_basic_'][0], self._load_videos)
        wanted = frozenset(_LOG)
        for block in read_delimited(shard, Dialect(), wanted):
            missing = wanted - set(block.columns)
            if missing:
                raise UserError(f'{shard.path} has no field {min(missing)}: it is no log of '
                                'KuaiRand.')
            columns = {new: block.columns[old] for old, new in _LOG.items()}
            columns['timestamp'] = seconds(columns['timestamp'], 1000)
            columns |= users.join(columns['user_id'], self.wants)
            columns |= videos.join(columns['item_id'],
                                   lambda name: name == 'upload_day' or self.wants(name))
            columns['video_age_days'] = _age(columns['timestamp'], columns.pop('upload_day'))
            yield raw_batch(base_name(shard.path), block.lines, columns, block.rejected)

    def _find(self) -> dict[str, list[str]]:
        if self._found is None:
            inputs = need_inputs(self.inputs, self.name, 'the files of KuaiRand')
            logs = ('log_standard_', 'log_random_') if self._which == 'both' else (
                f'log_{self._which}_',)
            paths = expand(inputs)
            self._found = {}
            for kind, prefixes in (('log_', logs), ('user_features_', ('user_features_',)),
                                   ('video_features_basic_', ('video_features_basic_',))):
                found = [path for path in paths if base_name(path).startswith(prefixes)]
                if not found or (kind != 'log_' and len(found) > 1):
                    count = 'more than one file' if found else 'no file'
                    raise UserError(f'KuaiRand: {", ".join(inputs)} holds {count} named '
                                    f'{" or ".join(prefixes)}*.csv.')
                self._found[kind] = found
        return self._found

    def _load_users(self, path: str) -> KeyedTable:
        return KeyedTable(read_small(path, Dialect(), self.wanted('user_id')), 'user_id')

    def _load_videos(self, path: str) -> KeyedTable:
        table = read_small(path, Dialect(), self.wanted('video_id', 'tag', 'upload_dt'))
        tags = split_lists(table.column('tag').combine_chunks(), ',')
        table = table.set_column(table.column_names.index('tag'), 'tag', tags)
        upload = days(table.column('upload_dt').combine_chunks())
        return KeyedTable(table.append_column('upload_day', upload)
                          .append_column('first_tag', first_of(tags)), 'video_id')


def _age(timestamp: pa.Array, upload_day: pa.Array) -> pa.Array:
    """Whole days from the day of upload to the day of the impression, both in China."""
    if not pa.types.is_floating(timestamp.type):  # some are no times; those rows are rejected
        readable = pc.match_substring_regex(timestamp, r'^[-+]?[0-9]+(\.[0-9]*)?$')
        timestamp = pc.if_else(readable, timestamp, pa.scalar(None, pa.string())).cast(
            pa.float64())
    today = np.floor((timestamp.to_numpy(zero_copy_only=False) + _CHINA) / _DAY)
    age = today - upload_day.to_numpy(zero_copy_only=False)
    return pa.array(age, mask=np.isnan(age))

"""KuaiRand: impressions of a short-video app; the tab they appeared in is the domain.

Gao et al., KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed
Videos, CIKM 2022. The published files of Pure, 1K and 27K are read, plain or gzipped:
`log_standard_*.csv`, `log_random_*.csv`, `user_features_*.csv` and
`video_features_basic_*.csv`.

What the log records after the impression (play time, likes, follows, comments, forwards, ...)
is not read, nor are the videos' statistics, which count later days. The users' properties are
a snapshot, used as given.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from beam_jobs.readers.base import (
    RawBatch,
    Reader,
    Shard,
    need_inputs,
    raw_batch,
    reject_rows,
    text_shards,
    with_timestamps,
)
from beam_jobs.readers.delimited import Dialect, read_delimited, read_small
from beam_jobs.readers.raw_files import base_name, expand
from beam_jobs.readers.tables import KeyedTable
from beam_jobs.readers.values import days, first_of, split_lists
from beam_jobs.rows.timestamps import numeric_seconds
from mdctr.errors import UserError
from mdctr.settings import Settings

_LOG = {
    'user_id': 'user_id',
    'video_id': 'item_id',
    'time_ms': 'timestamp',
    'is_click': 'click',
    'tab': 'tab',
    'is_rand': 'is_rand',
    'duration_ms': 'duration_ms',
}
_CHINA = 8 * 3600  # upload days are days there
_DAY = 86400


class KuaiRandOptions(Settings):
    """Options of the reader `kuairand`."""

    logs: Literal['standard', 'random', 'both'] = Field(
        default='standard',
        description='The standard log, the log of random exposures, or both.',
    )


class KuaiRandReader(Reader):
    """Columns: user_id, item_id (the video), timestamp, click, tab, is_rand, duration_ms (of
    the video), every user feature by its published name, every basic video feature too, of
    which `tag` is a list, first_tag, and video_age_days: whole days from the upload to the
    impression.
    """

    name = 'kuairand'
    Options = KuaiRandOptions

    def __init__(
        self,
        inputs: Sequence[str] | None,
        options: KuaiRandOptions,
        cache: str,
        columns: Iterable[str] | None = None,
    ):
        super().__init__(inputs, options, cache, columns)
        self._which = options.logs

    def files(self) -> list[str]:
        return [path for paths in self._found.values() for path in paths]

    def shards(self) -> list[Shard]:
        return text_shards(self._found['log_'])

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        users = self.table(self._found['user_features_'][0], self._load_users)
        videos = self.table(self._found['video_features_basic_'][0], self._load_videos)
        wanted = frozenset(_LOG)
        for block in read_delimited(shard, Dialect(), wanted):
            missing = wanted - set(block.columns)
            if missing:
                raise UserError(
                    f'{shard.path} has no field {min(missing)}: it is not a log of KuaiRand.'
                )
            columns = {new: block.columns[old] for old, new in _LOG.items()}
            times, invalid = numeric_seconds(columns['timestamp'], 1000)
            columns |= users.join(columns['user_id'], self.wants)
            columns |= videos.join(
                columns['item_id'], lambda name: name == 'upload_day' or self.wants(name)
            )
            columns['video_age_days'] = _age(times, columns.pop('upload_day'))
            batch = raw_batch(base_name(shard.path), block.lines, columns, block.rejected)
            batch = reject_rows(batch, invalid, 'timestamp not a number')
            yield with_timestamps(batch, times[~invalid])

    @functools.cached_property
    def _found(self) -> dict[str, list[str]]:
        """The files by the beginning of their names."""
        inputs = need_inputs(self.inputs, self.name, 'the files of KuaiRand')
        logs = (
            ('log_standard_', 'log_random_')
            if self._which == 'both'
            else (f'log_{self._which}_',)
        )
        paths = expand(inputs)
        files = {}
        for kind, prefixes in (
            ('log_', logs),
            ('user_features_', ('user_features_',)),
            ('video_features_basic_', ('video_features_basic_',)),
        ):
            found = [path for path in paths if base_name(path).startswith(prefixes)]
            if not found or (kind != 'log_' and len(found) > 1):
                count = 'more than one file' if found else 'no file'
                raise UserError(
                    f'KuaiRand: {", ".join(inputs)} contains {count} named '
                    f'{" or ".join(prefixes)}*.csv.'
                )
            files[kind] = found
        return files

    def _load_users(self, path: str) -> KeyedTable:
        return KeyedTable(read_small(path, Dialect(), self.wanted('user_id')), 'user_id')

    def _load_videos(self, path: str) -> KeyedTable:
        table = read_small(path, Dialect(), self.wanted('video_id', 'tag', 'upload_dt'))
        tags = split_lists(table.column('tag').combine_chunks(), ',')
        table = table.set_column(table.column_names.index('tag'), 'tag', tags)
        upload = days(table.column('upload_dt').combine_chunks())
        return KeyedTable(
            table.append_column('upload_day', upload).append_column(
                'first_tag', first_of(tags)
            ),
            'video_id',
        )


def _age(timestamp: np.ndarray, upload_day: pa.Array) -> pa.Array:
    """Whole days from the day of upload to the day of the impression, both in China."""
    today = np.floor((timestamp + _CHINA) / _DAY)
    age = today - upload_day.to_numpy(zero_copy_only=False)
    return pa.array(age, mask=np.isnan(age))

r"""Tenrec: impressions of two feeds of Tencent, QB and QK, each of videos and of articles.

Yuan et al., Tenrec: A Large-scale Multipurpose Benchmark Dataset for Recommender Systems,
NeurIPS 2022. The published files are CSV with a header; `\N` is a missing value:

    {QB,QK}-video.csv     user_id, item_id, click, follow, like, share, video_category,
                          watching_times, gender, age
    {QB,QK}-article.csv   user_id, item_id, click, gender, age, exposure_count, click_count,
                          like_count, comment_count, read_percentage, item_score1,
                          item_score2, category_second, category_first, item_score3, and in
                          QK read, read_time, share, like, follow, favorite
    ctr_data_1M.csv       QK-video of a million users, with hist_1 to hist_10: the user's first
                          ten clicks, whose rows are left out; 0 fills up

The column names are those of the headers as several public users of the files report them,
and of the publishers' processing scripts; the files themselves could not be inspected. Users
have one id in all files, by which the publishers join them. That QB and QK number the items of
a kind alike, as the paper's overlap of items suggests, could not be verified.

The files have no timestamps. According to the publishers, a user's rows are in the order of
time; this is not used. The article files contain clicks only. What happens after the impression
(`watching_times`, likes, reading times, ...) is not read, nor are the counts and scores of
articles, which are not as of the impression.

The history in ctr_data_1M.csv is the same in all rows of a user, and impressions without a
click may be earlier than the end of it. Of a user with at most ten clicks it contains all but
the last one, so that its length says that one click is left.
"""

import functools
from collections.abc import Iterator
from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from beam_jobs.readers.base import RawBatch, Reader, Shard, need_inputs, raw_batch, text_shards
from beam_jobs.readers.delimited import Dialect, read_delimited
from beam_jobs.readers.raw_files import base_name, expand
from beam_jobs.readers.values import constant, prefixed, split_lists
from mdctr.errors import UserError
from mdctr.settings import Settings

_CTR = 'ctr_data_1M'
_HISTORY = tuple(f'hist_{n}' for n in range(10, 0, -1))  # the most recent first
_PROPERTIES = ('video_category', 'category_first', 'category_second', 'gender', 'age')
File = Literal['ctr_data_1M', 'QK-video', 'QB-video', 'QK-article', 'QB-article']


class TenrecOptions(Settings):
    """Options of the reader `tenrec`."""

    files: list[File] = Field(
        default=['ctr_data_1M'],
        min_length=1,
        description='Files that are read, by their names without `.csv`.',
    )

    @model_validator(mode='after')
    def _check(self) -> Self:
        if len(set(self.files)) < len(self.files):
            raise ValueError('files: a file is named twice.')
        if {_CTR, 'QK-video'} <= set(self.files):
            raise ValueError(f'files: the rows of {_CTR} are among those of QK-video.')
        return self


class TenrecReader(Reader):
    """Columns: user_id, item_id (`video/<id>` or `article/<id>`), click, scenario (such as
    `QK-video`), video_category (`0`, `1` or `unknown`; null of articles), category_first and
    category_second (of articles), gender, age, and past_items: the user's first clicks, the
    most recent first; null in files other than ctr_data_1M.csv.
    """

    name = 'tenrec'
    Options = TenrecOptions

    @property
    def has_timestamps(self) -> bool:
        return False

    def files(self) -> list[str]:
        return list(self._paths.values())

    def shards(self) -> list[Shard]:
        return text_shards(self.files())

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        name = _plain(shard.path)
        scenario = 'QK-video' if name == _CTR else name
        kind = scenario.partition('-')[2]
        for block in read_delimited(shard, Dialect(quote=None)):
            self._check_fields(shard.path, name, block.columns)
            rows = len(block.lines)
            columns = {field: block.columns[field] for field in ('user_id', 'click')}
            columns['item_id'] = prefixed(kind, block.columns['item_id'])
            columns['timestamp'] = constant(0, rows)
            columns['scenario'] = constant(scenario, rows)
            for field in _PROPERTIES:
                column = block.columns.get(field, pa.nulls(rows, pa.string()))
                columns[field] = _known(column)
            if 'video_category' in block.columns:
                columns['video_category'] = pc.fill_null(columns['video_category'], 'unknown')
            if self.wants('past_items'):
                columns['past_items'] = _past_items(block.columns, rows)
            yield raw_batch(base_name(shard.path), block.lines, columns, block.rejected)

    @staticmethod
    def _check_fields(path: str, name: str, columns: dict[str, pa.Array]) -> None:
        needed = {'user_id', 'item_id', 'click', *(_HISTORY if name == _CTR else ())}
        if missing := needed - set(columns):
            raise UserError(
                f'{path} has no field {min(missing)}: it is not the file {name}.csv of Tenrec.'
            )

    @functools.cached_property
    def _paths(self) -> dict[str, str]:
        """The files by name, in the order of the option `files`."""
        inputs = need_inputs(self.inputs, self.name, 'the files of Tenrec')
        found = {_plain(path): path for path in expand(inputs)}
        for name in self.options.files:
            if name not in found:
                raise UserError(f'Tenrec: {", ".join(inputs)} contains no {name}.csv.')
        return {name: found[name] for name in self.options.files}


def _plain(path: str) -> str:
    return base_name(path).removesuffix('.gz').removesuffix('.csv')


def _known(column: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(column, r'\N'), pa.scalar(None, pa.string()), column)


def _past_items(columns: dict[str, pa.Array], rows: int) -> pa.Array:
    if _HISTORY[0] not in columns:
        return pa.nulls(rows, pa.list_(pa.string()))
    items = [
        prefixed('video', pc.if_else(pc.equal(columns[name], '0'), '', columns[name]))
        for name in _HISTORY
    ]
    return split_lists(pc.binary_join_element_wise(*items, ' '), ' ')

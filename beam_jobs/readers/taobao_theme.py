"""Taobao Cloud Theme: clicks on items that were shown under a theme, which is the domain.

Du et al., Sequential Scenario-Specific Meta Learner for Online Recommendation, KDD 2019; the
data set "Cloud Theme Click Dataset" of Tianchi. Its log is `theme_click_log.csv`, with a
header: user_id, item_id, leaf_cate_id, cate_level1_id, theme_id, reach_time. Every row is a
click. The benchmarks Taobao-10, -20 and -30 are MAMDR's (V-A, Table IV), whose themes are the
first ones to appear in the log; here they are called D1, D2, ... as there.

The data's embeddings of users and items, which MAMDR feeds to its models, are dense vectors
and not read.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from beam_jobs.readers.base import RawBatch, Reader, Shard, need_inputs, raw_batch, text_shards
from beam_jobs.readers.delimited import Dialect, read_delimited
from beam_jobs.readers.raw_files import base_name, expand
from beam_jobs.readers.values import constant
from mdctr.errors import UserError
from mdctr.settings import Settings

_LOG = 'theme_click_log.csv'
_FIELDS = ('user_id', 'item_id', 'theme_id', 'reach_time')


class TaobaoThemeOptions(Settings):
    """Options of the reader `taobao-theme`."""

    themes: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description='Number of themes that are read, in order of appearance in the log; rows '
        'of other themes are left out. All if absent.',
    )


class TaobaoThemeReader(Reader):
    """Columns: user_id, item_id, timestamp (as written: a time of day in China), click
    (always 1), theme_id, theme (`D<n>`, the n-th to appear), leaf_cate_id, cate_level1_id.
    """

    name = 'taobao-theme'
    Options = TaobaoThemeOptions

    def __init__(
        self,
        inputs: Sequence[str] | None,
        options: TaobaoThemeOptions,
        cache: str,
        columns: Iterable[str] | None = None,
    ):
        super().__init__(inputs, options, cache, columns)
        self._wanted = options.themes

    def files(self) -> list[str]:
        return [self._path]

    def shards(self) -> list[Shard]:
        _ = self._themes  # found once here, not by every worker
        return text_shards(self.files())

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        themes = pa.array(self._themes, pa.string())
        names = pa.array([f'D{n}' for n in range(1, len(themes) + 1)])
        for block in read_delimited(shard, Dialect()):
            columns = dict(block.columns)
            columns['timestamp'] = columns.pop('reach_time')
            columns['click'] = constant(1, len(block.lines))
            place = pc.index_in(columns['theme_id'], value_set=themes)
            columns['theme'] = names.take(place)
            kept = pc.is_valid(place)
            columns = {name: column.filter(kept) for name, column in columns.items()}
            lines = block.lines[kept.to_numpy(zero_copy_only=False)]
            yield raw_batch(base_name(shard.path), lines, columns, block.rejected)

    @functools.cached_property
    def _path(self) -> str:
        inputs = need_inputs(self.inputs, self.name, _LOG)
        found = [path for path in expand(inputs) if base_name(path).removesuffix('.gz') == _LOG]
        if len(found) != 1:
            raise UserError(f'{", ".join(inputs)} must contain one {_LOG}, not {len(found)}.')
        return found[0]

    @functools.cached_property
    def _themes(self) -> list[str]:
        """The themes in the order of their first rows; reads no further than it must."""
        themes: dict[str, None] = {}
        for block in read_delimited(Shard(self._path), Dialect()):
            missing = set(_FIELDS) - set(block.columns)
            if missing:
                raise UserError(
                    f'{self._path} has no field {min(missing)}: it is not a {_LOG} of Cloud '
                    'Theme.'
                )
            themes |= dict.fromkeys(
                theme for theme in pc.unique(block.columns['theme_id']).to_pylist() if theme
            )
            if self._wanted is not None and len(themes) >= self._wanted:
                break
        if self._wanted is not None and len(themes) < self._wanted:
            raise UserError(
                f'{self._path} has {len(themes)} themes, and dataset.reader_options.themes '
                f'asks for {self._wanted}.'
            )
        return list(themes)[: self._wanted]

"""Taobao Cloud Theme: clicks on items that were shown under a theme, which is the domain.

Du et al., Sequential Scenario-Specific Meta Learner for Online Recommendation, KDD 2019; the
data set "Cloud Theme Click Dataset" of Tianchi. Its log is `theme_click_log.csv`, with a
header: user_id, item_id, leaf_cate_id, cate_level1_id, theme_id, reach_time. Every row is a
click. The benchmarks Taobao-10, -20 and -30 are MAMDR's (V-A, Table IV), whose themes are the
first ones to appear in the log; here they are called D1, D2, ... as there.

The data's embeddings of users and items, which MAMDR feeds to its models, are dense vectors
and not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.errors import UserError
from beam_jobs.files import base_name, expand
from beam_jobs.options import from_mapping, setting
from beam_jobs.readers.base import RawBatch, Reader, Shard, need_inputs, raw_batch, text_shards
from beam_jobs.readers.delimited import Dialect, read_delimited
from beam_jobs.readers.values import constant

_LOG = 'theme_click_log.csv'
_FIELDS = ('user_id', 'item_id', 'theme_id', 'reach_time')


@dataclass(frozen=True)
class Options:
    """Attributes: themes: how many themes are read, in the order in which they appear in the
    log; rows of others are not. All when absent.
    """

    themes: int | None = setting(None, minimum=1)


class TaobaoThemeReader(Reader):
    """Columns: user_id, item_id, timestamp (as written: a time of day in China), click
    (always 1), theme_id, theme (`D<n>`, the n-th to appear), leaf_cate_id, cate_level1_id.
    """

    name = 'taobao-theme'

    def __init__(self, inputs, options, cache, columns=None):
        super().__init__(inputs, options, cache, columns)
        self._wanted = from_mapping(Options, options, 'dataset.options').themes
        self._path = None
        self._themes = None

    def files(self) -> list[str]:
        if self._path is None:
            inputs = need_inputs(self.inputs, self.name, _LOG)
            found = [path for path in expand(inputs)
                     if base_name(path).removesuffix('.gz') == _LOG]
            if len(found) != 1:
                raise UserError(f'{", ".join(inputs)} must hold one {_LOG}, not {len(found)}.')
            self._path = found[0]
        return [self._path]

    def shards(self) -> list[Shard]:
        self._find_themes()
        return text_shards(self.files())

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        themes = self._find_themes()
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

    def _find_themes(self) -> pa.Array:
        """The themes in the order of their first rows; reads no further than it must."""
        if self._themes is None:
            themes, seen = [], set()
            for block in read_delimited(Shard(self.files()[0]), Dialect()):
                missing = set(_FIELDS) - set(block.columns)
                if missing:
                    raise UserError(f'{self._path} has no field {min(missing)}: it is no '
                                    f'{_LOG} of Cloud Theme.')
                for theme in pc.unique(block.columns['theme_id']).to_pylist():
                    if theme not in seen and theme != '':
                        seen.add(theme)
                        themes.append(theme)
                if self._wanted is not None and len(themes) >= self._wanted:
                    break
            if self._wanted is not None and len(themes) < self._wanted:
                raise UserError(f'{self._path} has {len(themes)} themes, and dataset.options.'
                                f'themes asks for {self._wanted}.')
            self._themes = np.array(themes[:self._wanted], object)
        return pa.array(self._themes, pa.string())

"""MIND: impressions and clicks of news on Microsoft News; the news' category is the domain.

Wu et al., MIND: A Large-scale Dataset for News Recommendation, ACL 2020. The layout is that of
the publishers' description (msnews.github.io). MIND-small and MIND-large consist of a
directory for training (2019-11-09 to 14) and one for validation (2019-11-15), each with
tab-separated files without a header, in which quotes are plain text:

    behaviors.tsv   impression, user, time (11/15/2019 10:22:32 AM), history, impressions
    news.tsv        news, category, subcategory, title, abstract, URL, entities of the title,
                    entities of the abstract

The history lists the user's earlier clicks by time, separated by spaces; the impressions list
what was shown together, in random order, as `N1-1` if it was clicked and `N1-0` if not. A line
becomes one row for each. The test directory of MIND-large has no labels, and its lines are
rejected.

The publishers' description says neither which time zone the times are in (they are read as
UTC, so that days are those of the file) nor whether each history reaches up to its impression:
it is built from the clicks of the first four weeks.
"""

import functools
from collections.abc import Iterator

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
    reject_rows,
    text_shards,
)
from beam_jobs.readers.delimited import Dialect, read_delimited, read_small
from beam_jobs.readers.raw_files import base_name, expand
from beam_jobs.readers.tables import KeyedTable
from beam_jobs.readers.values import split_lists
from beam_jobs.rows.timestamps import formatted_seconds
from mdctr.errors import UserError
from mdctr.settings import Settings

_BEHAVIORS = Dialect('\t', None, ('impression_id', 'user_id', 'time', 'history', 'impressions'))
_NEWS_FIELDS = ('item_id', 'category', 'subcategory', 'title')
_NEWS = Dialect('\t', None, (*_NEWS_FIELDS, 'abstract', 'url', 'entities', 'more_entities'))
_TIME = '%m/%d/%Y %I:%M:%S %p'
_IMPRESSIONS = r'^[^ ]+-[01]( [^ ]+-[01])*$'
_BLOCK_BYTES = 1 << 20  # of lines, each of which becomes some forty rows with their histories


class MindOptions(Settings):
    """Options of the reader `mind`."""

    max_length: int = Field(
        default=50,
        ge=1,
        description='Maximum number of news of a history, from the most recent.',
    )


class MindReader(Reader):
    """Columns: user_id, item_id (the news), timestamp, click, impression_id (shared by the
    news that were shown together), category, subcategory, title, title_words (a list, in
    lower case), and the lists history and history_categories: the news that the user clicked
    before, the most recent first, and their categories.

    The inputs are the directories for training and validation. All rows of a line of
    behaviors.tsv have its number.
    """

    name = 'mind'
    Options = MindOptions

    def files(self) -> list[str]:
        return [path for pair in self._parts.items() for path in pair]

    def shards(self) -> list[Shard]:
        return text_shards(self._parts)

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        news = self.table(self._parts[shard.path], _load_news)
        source = '/'.join(shard.path.split('/')[-2:])  # the same name in every directory
        for block in read_delimited(shard, _BEHAVIORS, source=source, block_bytes=_BLOCK_BYTES):
            seconds, invalid = formatted_seconds(block.columns['time'], _TIME)
            columns = {
                **block.columns,
                'time': pa.array(seconds, mask=np.isnan(seconds)),
                'impressions': pc.utf8_trim_whitespace(block.columns['impressions']),
            }
            batch = raw_batch(source, block.lines, columns, block.rejected)
            malformed = ~pc.match_substring_regex(
                columns['impressions'], _IMPRESSIONS
            ).to_numpy(zero_copy_only=False)
            batch = reject_rows(batch, invalid, f'time not in the format {_TIME}')
            batch = reject_rows(
                batch, malformed[~invalid], 'impressions not all of the form N1-0 or N1-1'
            )
            yield self._rows_of_lines(source, batch, news)

    def _rows_of_lines(self, source: str, lines: RawBatch, news: KeyedTable) -> RawBatch:
        """A row for each of the news that a line shows."""
        column = {
            name: lines.rows.column(place) for place, name in enumerate(lines.rows.schema.names)
        }
        shown = split_lists(column['impressions'], ' ')
        line_of, shown = pc.list_parent_indices(shown), pc.list_flatten(shown)
        item = pc.utf8_slice_codeunits(shown, 0, -2)
        rows = {
            'user_id': column['user_id'].take(line_of),
            'item_id': item,
            'timestamp': column['time'].take(line_of),
            'click': pc.utf8_slice_codeunits(shown, -1),
            'impression_id': column['impression_id'].take(line_of),
            **news.join(item, self.wants),
        }
        history = _most_recent_first(
            split_lists(column['history'], ' '), self.options.max_length
        )
        if self.wants('history'):
            rows['history'] = history.take(line_of)
        if self.wants('history_categories'):
            categories = news.join(history.values, lambda name: name == 'category')['category']
            lists = pa.ListArray.from_arrays(history.offsets, categories)
            rows['history_categories'] = lists.take(line_of)
        numbers = column['line'].to_numpy()[line_of.to_numpy()]
        return raw_batch(source, numbers, rows, lines.rejected)

    @functools.cached_property
    def _parts(self) -> dict[str, str]:
        """The news.tsv of the directory of each behaviors.tsv, by the latter's path."""
        inputs = need_inputs(
            self.inputs, self.name, 'directories with behaviors.tsv and news.tsv'
        )
        found = expand(inputs)
        behaviors, news = (
            {
                path.rpartition('/')[0]: path
                for path in found
                if base_name(path).removesuffix('.gz') == name
            }
            for name in ('behaviors.tsv', 'news.tsv')
        )
        if not behaviors:
            raise UserError(f'MIND: {", ".join(inputs)} contains no behaviors.tsv.')
        for directory, path in behaviors.items():
            if directory not in news:
                raise UserError(
                    f'{path} has no news.tsv next to it: the reader mind needs both files.'
                )
        return {path: news[directory] for directory, path in behaviors.items()}


def _load_news(path: str) -> KeyedTable:
    table = read_small(path, _NEWS, frozenset(_NEWS_FIELDS))
    title = pc.utf8_lower(table.column('title').combine_chunks())
    words = split_lists(pc.replace_substring_regex(title, r'[^\pL\pN]+', ' '), ' ')
    return KeyedTable(table.append_column('title_words', words), 'item_id')


def _most_recent_first(lists: pa.Array, length: int) -> pa.Array:
    """The last `length` values of each list, the last one first."""
    ends = lists.offsets.to_numpy()[1:].astype(np.int64)
    counts = np.minimum(np.diff(lists.offsets.to_numpy()), length)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    back = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    values = lists.values.take(pa.array(np.repeat(ends, counts) - 1 - back))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)

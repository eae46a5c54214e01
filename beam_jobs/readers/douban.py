"""Douban: ratings of books, movies and music by the same users; the kind is the domain.

Zhu et al., DTCDR: A Framework for Dual-Target Cross-Domain Recommendation, CIKM 2019, and A
Graphical and Attentional Framework for Dual-Target Cross-Domain Recommendation, IJCAI 2020.
The authors publish two layouts, both tab-separated:

    reviews   bookreviews_cleaned.txt, moviereviews_cleaned.txt, musicreviews_cleaned.txt, with
              a header: user_id; book_id, movie_id or music_id; rating (1 to 5), labels,
              comment, time (a day) and others; and users_cleaned.txt: UID (the user_id of the
              reviews), living_place, join_time, self_statement and others
    ratings   douban_book/ratings.dat, and so on for movie and music: user, item, rating;
              without a header, timestamps or properties of users, and with fewer items

`ratings` is that of the files for books and music in the authors' repository, which were
inspected. Of `reviews`, the fields are those that public programs read, Scenario-Wise-Rec
among them, and the format of the time is that of the reviews of movies; the files themselves
could not be inspected. Their fields are quoted; quotes are removed from the ends of a field
and are plain text within it, so that one too many in a comment does no harm.

A rating of at least `min_rating` is a click. With 4, this is the label of Scenario-Wise-Rec.
Neither the text of a review nor its labels, which are written with it, are read.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

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
    with_timestamps,
)
from beam_jobs.readers.delimited import Dialect, read_delimited, read_small
from beam_jobs.readers.raw_files import base_name, expand
from beam_jobs.readers.tables import KeyedTable
from beam_jobs.readers.values import constant, prefixed
from beam_jobs.rows.cells import numbers
from beam_jobs.rows.columns import array
from beam_jobs.rows.timestamps import iso_seconds
from mdctr.errors import UserError
from mdctr.settings import Settings

_REVIEWS = Dialect('\t', None)
_RATINGS = Dialect('\t', None, ('user_id', 'item_id', 'rating'))
_USERS = 'users_cleaned.txt'
_MONTH = r'^(?P<month>[0-9]{4}-[0-9]{2})'
Kind = Literal['book', 'movie', 'music']


class DoubanOptions(Settings):
    """Options of the reader `douban`."""

    layout: Literal['reviews', 'ratings'] = Field(
        default='reviews',
        description='Published layout: `reviews` with times and users, or `ratings` alone.',
    )
    kinds: list[Kind] = Field(
        default=['book', 'movie', 'music'],
        min_length=1,
        description='Kinds of items whose ratings are read.',
    )
    min_rating: float = Field(
        default=4.0, description='Rating, of 1 to 5, from which on a row is a click.'
    )


class DoubanReader(Reader):
    """Columns: user_id, item_id (`<kind>/<id>`), timestamp (the day), click, rating, kind, and
    the user's living_place and join_month (`2007-07`). With `layout: ratings` there are no
    timestamps, and the user's properties are null.

    The inputs are the directory of the reviews, or the one that holds `douban_book`.
    """

    name = 'douban'
    Options = DoubanOptions

    @property
    def has_timestamps(self) -> bool:
        return self.options.layout == 'reviews'

    def files(self) -> list[str]:
        return [*self._logs.values(), *self._users]

    def shards(self) -> list[Shard]:
        return text_shards(self._logs.values())

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        kind = next(kind for kind, path in self._logs.items() if path == shard.path)
        reviews = self.options.layout == 'reviews'
        source = base_name(shard.path) if reviews else f'douban_{kind}/ratings.dat'
        item = f'{kind}_id' if reviews else 'item_id'
        names = ['user_id', item, 'rating', *(['time'] if reviews else [])]
        for block in read_delimited(shard, _REVIEWS if reviews else _RATINGS, source=source):
            raw = _fields(shard.path, block.columns, names)
            rows = len(block.lines)
            rating, not_a_number = numbers(raw['rating'])
            columns = {
                'user_id': raw['user_id'],
                'item_id': prefixed(kind, raw[item]),
                'timestamp': raw['time'] if reviews else constant(0, rows),
                'click': pa.array((rating >= self.options.min_rating).astype(np.int8)),
                'rating': raw['rating'],
                'kind': constant(kind, rows),
                **self._properties(raw['user_id']),
            }
            batch = raw_batch(source, block.lines, columns, block.rejected)
            bad = not_a_number | np.isnan(rating)
            batch = reject_rows(batch, bad, 'rating not a number')
            if reviews:
                seconds, invalid = iso_seconds(raw['time'].filter(pa.array(~bad)))
                batch = reject_rows(batch, invalid, 'time not in ISO 8601')
                batch = with_timestamps(batch, seconds[~invalid])
            yield batch

    def _properties(self, user: pa.Array) -> dict[str, pa.Array]:
        if not self._users:
            return dict.fromkeys(
                ('living_place', 'join_month'), pa.nulls(len(user), pa.string())
            )
        return self.table(self._users[0], _load_users).join(user, self.wants)

    @functools.cached_property
    def _logs(self) -> dict[str, str]:
        """The files of the ratings by kind."""
        inputs = need_inputs(self.inputs, self.name, 'the files of Douban')
        kinds = list(dict.fromkeys(self.options.kinds))
        if self.options.layout == 'ratings':
            if len(inputs) != 1:
                raise UserError(
                    'The reader douban takes one directory with `layout: ratings`, the one '
                    'that holds douban_book, douban_movie and douban_music.'
                )
            root = inputs[0].rstrip('/')
            return {kind: expand([f'{root}/douban_{kind}/ratings.dat'])[0] for kind in kinds}
        return {kind: self._review_file(f'{kind}reviews_cleaned.txt') for kind in kinds}

    @functools.cached_property
    def _users(self) -> list[str]:
        return [self._review_file(_USERS)] if self.options.layout == 'reviews' else []

    def _review_file(self, name: str) -> str:
        inputs = need_inputs(self.inputs, self.name, 'the files of Douban')
        for path in expand(inputs):
            if base_name(path).removesuffix('.gz') == name:
                return path
        raise UserError(f'Douban: {", ".join(inputs)} contains no {name}.')


def _fields(
    path: str, columns: Mapping[str, pa.Array], names: Sequence[str]
) -> dict[str, pa.Array]:
    """The named fields without the quotes around them."""
    raw = {name.strip('" '): column for name, column in columns.items()}
    if missing := set(names) - set(raw):
        raise UserError(
            f'{path} has no field {min(missing)}: it is not a file of the Douban dataset.'
        )
    return {name: pc.utf8_trim(raw[name], '" ') for name in names}


def _load_users(path: str) -> KeyedTable:
    table = read_small(path, _REVIEWS)
    columns = {name: array(table, name) for name in table.column_names}
    users = _fields(path, columns, ('UID', 'living_place', 'join_time'))
    month = pc.struct_field(pc.extract_regex(users['join_time'], _MONTH), [0])
    return KeyedTable(
        pa.table(
            {
                'user_id': users['UID'],
                'living_place': users['living_place'],
                'join_month': month,
            }
        ),
        'user_id',
    )

"""MovieLens: every rating is a positive; the film's first genre is its domain.

Reads the published layouts of 100K (`u.data`, `u.item`, `u.user`), of 1M (`ratings.dat`,
`movies.dat`, `users.dat`) and of 20M and 25M (`ratings.csv`, `movies.csv`; no properties of
users), each described in its README (Harper and Konstan, The MovieLens Datasets, 2015),
and 100K also as RecBole ships it (`ml-100k.inter`, `.item`, `.user`: tab-separated, with a
header of `name:type`).
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from beam_jobs.readers.base import RawBatch, Reader, Shard, raw_batch, text_shards
from beam_jobs.readers.delimited import Dialect, read_delimited, read_small
from beam_jobs.readers.fetch import fetch
from beam_jobs.readers.raw_files import base_name, expand
from beam_jobs.readers.tables import KeyedTable
from beam_jobs.readers.values import constant, first_of, split_lists
from mdctr.errors import UserError
from mdctr.settings import Settings

_TAB = Dialect('\t', None)
_RATINGS = ('user_id', 'item_id', 'rating', 'timestamp')
_GENRES_100K = (
    'unknown',
    'Action',
    'Adventure',
    'Animation',
    "Children's",
    'Comedy',
    'Crime',
    'Documentary',
    'Drama',
    'Fantasy',
    'Film-Noir',
    'Horror',
    'Musical',
    'Mystery',
    'Romance',
    'Sci-Fi',
    'Thriller',
    'War',
    'Western',
)
_ITEM_100K = ('item_id', 'title', 'release_date', 'video_release_date', 'imdb_url')
_USERS = {
    'u.user': Dialect('|', None, ('user_id', 'age', 'gender', 'occupation', 'zip_code')),
    'users.dat': Dialect('::', None, ('user_id', 'gender', 'age', 'occupation', 'zip_code')),
    'ml-100k.user': _TAB,
}
_ITEMS = {
    'u.item': Dialect('|', None, _ITEM_100K + _GENRES_100K, 'latin-1'),
    'movies.dat': Dialect('::', None, ('item_id', 'title', 'genres'), 'latin-1'),
    'movies.csv': Dialect(),
    'ml-100k.item': _TAB,
}
_LOGS = {
    'u.data': Dialect('\t', None, _RATINGS),
    'ratings.dat': Dialect('::', None, _RATINGS),
    'ratings.csv': Dialect(),
    'ml-100k.inter': _TAB,
}
_LAYOUTS = {
    '100k': (('u.data', 'u.item', 'u.user'), ('ml-100k.inter', 'ml-100k.item', 'ml-100k.user')),
    '1m': (('ratings.dat', 'movies.dat', 'users.dat'),),
    '20m': (('ratings.csv', 'movies.csv'),),
    '25m': (('ratings.csv', 'movies.csv'),),
}
_NAMES = {'userId': 'user_id', 'movieId': 'item_id', 'movie_title': 'title', 'class': 'genres'}
_YEAR = r'\s*\((?P<year>[0-9]{4})\)(?:\s*\(V\))?\s*$'  # (V): released on video alone


class MovieLensOptions(Settings):
    """Options of the reader `movielens`."""

    variant: Literal['100k', '1m', '20m', '25m'] = Field(
        default='100k', description='Published size.'
    )


class MovieLensReader(Reader):
    """Columns: user_id, item_id, timestamp, click (always 1), rating, genre (the first one),
    genres, title, release_year, and age, gender, occupation, zip_code (null in 20M and 25M).

    Without `inputs`, 100K is fetched.
    """

    name = 'movielens'
    Options = MovieLensOptions

    def __init__(
        self,
        inputs: Sequence[str] | None,
        options: MovieLensOptions,
        cache: str,
        columns: Iterable[str] | None = None,
    ):
        super().__init__(inputs, options, cache, columns)
        self._variant = options.variant

    def files(self) -> list[str]:
        return self._paths

    def shards(self) -> list[Shard]:
        return text_shards(self.files()[:1])

    def read(self, shard: Shard) -> Iterator[RawBatch]:
        _, items, *users = self.files()
        tables = [('item_id', self.table(items, _load_items))]
        tables += [('user_id', self.table(path, _load_users)) for path in users]
        for block in read_delimited(shard, _LOGS[_plain(shard.path)]):
            columns = _renamed(block.columns)
            columns['click'] = constant(1, len(block.lines))
            if not users:
                columns |= {
                    name: pa.nulls(len(block.lines), pa.string())
                    for name in ('age', 'gender', 'occupation', 'zip_code')
                }
            for key, table in tables:
                columns |= table.join(columns[key], self.wants)
            yield raw_batch(base_name(shard.path), block.lines, columns, block.rejected)

    @functools.cached_property
    def _paths(self) -> list[str]:
        """The log, the items and, if the variant has them, the users."""
        layouts = _LAYOUTS[self._variant]
        if self.inputs is None:
            if self._variant != '100k':
                raise UserError(
                    f'MovieLens {self._variant} is not fetched: unpack it and name '
                    'where it is with --set dataset.inputs=[DIRECTORY].'
                )
            patterns = [fetch('movielens-100k', self.cache)]
        else:
            patterns = self.inputs
        paths = {_plain(path): path for path in expand(patterns)}
        for layout in layouts:
            if all(name in paths for name in layout):
                return [paths[name] for name in layout]
        wanted = ', or '.join(', '.join(layout) for layout in layouts)
        raise UserError(
            f'MovieLens {self._variant} is incomplete in {", ".join(patterns)}: it '
            f'consists of {wanted}.'
        )


def _plain(path: str) -> str:
    return base_name(path).removesuffix('.gz')


def _renamed(columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    names = [name.partition(':')[0] for name in columns]
    return dict(zip([_NAMES.get(name, name) for name in names], columns.values(), strict=True))


def _load(path: str, dialect: Dialect) -> pa.Table:
    table = read_small(path, dialect)
    return pa.table(_renamed(dict(zip(table.column_names, table.columns, strict=True))))


def _load_users(path: str) -> KeyedTable:
    return KeyedTable(_load(path, _USERS[_plain(path)]), 'user_id')


def _load_items(path: str) -> KeyedTable:
    name = _plain(path)
    table = _load(path, _ITEMS[name])
    titles = table.column('title').combine_chunks()
    years = pc.struct_field(pc.extract_regex(titles, _YEAR), [0])
    titles = pc.replace_substring_regex(titles, _YEAR, '')
    if 'release_year' in table.column_names:  # there the titles are mostly without it
        noted = table.column('release_year').combine_chunks()
        years = pc.if_else(pc.match_substring_regex(noted, '^[0-9]{4}$'), noted, years)
    if name == 'u.item':
        genres = _flagged(table)
    else:
        genres = split_lists(
            table.column('genres').combine_chunks(), ' ' if name.startswith('ml-') else '|'
        )
    return KeyedTable(
        pa.table(
            {
                'item_id': table.column('item_id'),
                'title': titles,
                'release_year': years,
                'genre': first_of(genres),
                'genres': genres,
            }
        ),
        'item_id',
    )


def _flagged(table: pa.Table) -> pa.Array:
    """The genres whose flag is 1, in the order of the flags, as lists."""
    marks = [
        pc.if_else(pc.equal(table.column(name).combine_chunks(), '1'), name, '')
        for name in _GENRES_100K
    ]
    return split_lists(pc.binary_join_element_wise(*marks, '|'), '|')

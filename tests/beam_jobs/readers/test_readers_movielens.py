"""MovieLens in each of its layouts, against pandas and hand-written files."""

import gzip

import pandas as pd
import pytest

from mdctr.errors import UserError
from tests.beam_jobs.raw_data import public_data
from tests.beam_jobs.reading import read_all, reader_of

COLUMNS = (
    'rating',
    'genres',
    'title',
    'release_year',
    'age',
    'gender',
    'occupation',
    'zip_code',
    'genre',
)
GENRES = (
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


def _published_100k(directory, films):
    """Writes u.item as its README describes it: 5 fields, then 19 flags, Latin-1."""
    lines = []
    for number, (title, year, genres) in films.items():
        flags = ['1' if genre in genres else '0' for genre in GENRES]
        shown = f'{title} ({year})' if year else title
        lines.append(
            '|'.join(
                [
                    number,
                    shown,
                    f'01-Jan-{year}' if year else '',
                    '',
                    'http://example.org/',
                    *flags,
                ]
            )
        )
    (directory / 'u.item').write_bytes('\n'.join(lines).encode('latin-1') + b'\n')


def test_the_home_layout(tmp_path):
    (tmp_path / 'u.data').write_text(
        '196\t242\t3\t881250949\n186\t267\t5\t891717742\n196\t999\t1\t881250950\n'
    )
    (tmp_path / 'u.user').write_text('196|49|M|writer|55105\n186|39|F|executive|00000\n')
    _published_100k(
        tmp_path,
        {
            '242': ('Café, Le (The)', '1996', ('Comedy', 'Action')),
            '267': ('unknown', '', ('unknown',)),
        },
    )
    rows, rejected = read_all(reader_of('movielens', [str(tmp_path)], columns=COLUMNS))
    assert rejected.empty
    first, second, third = rows.to_dict('records')
    assert (first['source'], first['line'], first['click']) == ('u.data', 1, 1)
    assert first['user_id'] == '196' and first['item_id'] == '242'
    assert first['timestamp'] == '881250949' and first['rating'] == '3'
    assert first['title'] == 'Café, Le (The)' and first['release_year'] == '1996'
    assert first['genre'] == 'Action' and list(first['genres']) == ['Action', 'Comedy']
    assert (first['age'], first['gender'], first['occupation'], first['zip_code']) == (
        '49',
        'M',
        'writer',
        '55105',
    )
    assert second['genre'] == 'unknown' and second['release_year'] is None
    assert third['genre'] is None and third['title'] is None  # a film that u.item lacks


def test_the_fetched_files_against_pandas():
    directory = public_data('movielens-100k')
    rows, rejected = read_all(reader_of('movielens', [directory], columns=COLUMNS))
    assert rejected.empty
    if (rows['source'] != 'ml-100k.inter').any():
        pytest.skip('The other layout was fetched.')
    raw = {
        kind: pd.read_csv(
            f'{directory}/ml-100k.{kind}', sep='\t', dtype=str, quoting=3, keep_default_na=False
        )
        for kind in ('inter', 'item', 'user')
    }
    raw = {
        kind: table.rename(columns=lambda name: name.split(':')[0])
        for kind, table in raw.items()
    }
    expected = raw['inter'].merge(raw['item'], on='item_id').merge(raw['user'], on='user_id')
    keys = ['user_id', 'item_id', 'timestamp']
    expected = expected.sort_values(keys, ignore_index=True)
    rows = rows.sort_values(keys, ignore_index=True)
    assert len(rows) == 100000 and (rows['click'] == 1).all()
    for name in (*keys, 'rating', 'age', 'gender', 'occupation', 'zip_code'):
        assert (rows[name] == expected[name]).all()
    assert (rows['genre'] == expected['class'].str.split(' ').str[0]).all()
    assert (rows['genres'].str.join(' ') == expected['class']).all()
    assert rows['genre'].nunique() == 19
    known = expected['release_year'].str.fullmatch('[0-9]{4}')
    assert (rows['release_year'][known] == expected['release_year'][known]).all()
    odd = rows[~known].drop_duplicates('item_id').set_index('item_id')['release_year']
    assert odd.to_dict() == {'267': None, '1412': '1995'}  # its title ends in "(1995)"


def test_both_100k_layouts_agree_on_genres(tmp_path):
    """The first flag that is set is the first class of the other layout."""
    directory = public_data('movielens-100k')
    rows, _ = read_all(reader_of('movielens', [directory], columns=COLUMNS))
    films = rows.drop_duplicates('item_id')
    _published_100k(
        tmp_path,
        {
            film.item_id: (film.title, film.release_year or '', tuple(film.genres))
            for film in films.itertuples()
        },
    )
    (tmp_path / 'u.user').write_text('1|20|M|writer|0\n')
    (tmp_path / 'u.data').write_text(''.join(f'1\t{item}\t3\t9\n' for item in films.item_id))
    again, _ = read_all(reader_of('movielens', [str(tmp_path)], columns=COLUMNS))
    assert list(again.item_id) == list(films.item_id)
    assert list(again.genre) == list(films.genre)
    assert list(map(list, again.genres)) == list(map(list, films.genres))
    assert list(again.release_year) == list(films.release_year)


def test_1m(tmp_path):
    (tmp_path / 'ratings.dat').write_text('1::1193::5::978300760\n1::661::3::978302109\n1::2\n')
    (tmp_path / 'users.dat').write_text('1::F::1::10::48067\n')
    (tmp_path / 'movies.dat').write_bytes(
        "1193::One Flew Over: the Cuckoo's Nest (1975)::Drama\n"
        "661::Misérables, Les (1995)::Animation|Children's|Musical\n".encode('latin-1')
    )
    rows, rejected = read_all(
        reader_of('movielens', [str(tmp_path)], {'variant': '1m'}, columns=COLUMNS)
    )
    assert rejected[['line', 'reason']].values.tolist() == [[3, 'too few fields (2, not 4)']]
    assert rows['title'].tolist() == ["One Flew Over: the Cuckoo's Nest", 'Misérables, Les']
    assert rows['release_year'].tolist() == ['1975', '1995']
    assert rows['genre'].tolist() == ['Drama', 'Animation']
    assert list(rows['genres'][1]) == ['Animation', "Children's", 'Musical']
    assert (
        rows[['age', 'gender', 'occupation', 'zip_code']].values.tolist()
        == [['1', 'F', '10', '48067']] * 2
    )


@pytest.mark.parametrize('variant', ['20m', '25m'])
def test_20m(tmp_path, variant):
    with gzip.open(tmp_path / 'ratings.csv.gz', 'wt') as file:
        file.write('userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,29,3.5,1112484676\n')
    (tmp_path / 'movies.csv').write_text(
        'movieId,title,genres\n2,Jumanji (1995),Adventure|Children|Fantasy\n'
        '29,"City of Lost Children, The (1995)",(no genres listed)\n'
    )
    rows, _ = read_all(
        reader_of('movielens', [str(tmp_path)], {'variant': variant}, columns=COLUMNS)
    )
    assert rows['line'].tolist() == [2, 3]
    assert rows['title'].tolist() == ['Jumanji', 'City of Lost Children, The']
    assert rows['genre'].tolist() == ['Adventure', '(no genres listed)']
    assert rows['age'].isna().all()


def test_mistakes(tmp_path):
    (tmp_path / 'u.data').write_text('1\t2\t3\t4\n')
    with pytest.raises(UserError, match='MovieLens 100k is incomplete in .*u.data, u.item'):
        reader_of('movielens', [str(tmp_path)]).files()
    with pytest.raises(UserError, match='variant must be one of 100k, 1m, 20m, 25m, not .10m'):
        reader_of('movielens', None, {'variant': '10m'})
    with pytest.raises(UserError, match='MovieLens 1m is not fetched'):
        reader_of('movielens', None, {'variant': '1m'}).files()

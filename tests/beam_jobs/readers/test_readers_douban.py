"""Douban on small files in both published layouts."""

import pandas as pd
import pytest

from mdctr.errors import UserError
from tests.beam_jobs.reading import read_all, reader_of

HEADERS = {
    'book': ('user_id', 'book_id', 'rating', 'labels', 'comment', 'time', 'ID'),
    'movie': (
        'user_id',
        'movie_id',
        'rating',
        'comment',
        'time',
        'labels',
        'useful_num',
        'CategoryID',
        'ID',
    ),
    'music': ('user_id', 'music_id', 'rating', 'labels', 'comment', 'useful_num', 'time', 'ID'),
}
RATINGS = {
    'book': [('1', '10', 5, '2010-05-01'), ('2', '11', 3, '2010-05-02')],
    'movie': [('1', '10', 4, '2011-01-31'), ('3', '12', 1, '2009-12-31')],
    'music': [('2', '10', 2, '2012-02-29')],
}
COLUMNS = ('rating', 'living_place', 'join_month', 'kind')


def _line(fields):
    return '\t'.join(f'"{field}"' for field in fields) + '\n'


def _write_reviews(directory, extra=''):
    for kind, ratings in RATINGS.items():
        header = HEADERS[kind]
        lines = [_line(header)]
        for user, item, rating, day in ratings:
            values = {
                'user_id': user,
                f'{kind}_id': item,
                'rating': rating,
                'time': day,
                'labels': '小说|2010',
                'comment': 'An "odd quote',
            }
            lines.append(_line([values.get(name, '0') for name in header]))
        (directory / f'{kind}reviews_cleaned.txt').write_text(''.join(lines), 'utf-8')
    with (directory / 'bookreviews_cleaned.txt').open('a') as file:
        file.write(extra)
    (directory / 'users_cleaned.txt').write_text(
        _line(('user_id', 'living_place', 'join_time', 'self_statement', 'UID'))
        + _line(('a', '浙江杭州', '2007-07-10', 'I "like', '1'))
        + _line(('b', '', '', '', '2')),
        'utf-8',
    )


def _write_ratings(directory):
    for kind, ratings in RATINGS.items():
        (directory / f'douban_{kind}').mkdir()
        (directory / f'douban_{kind}' / 'ratings.dat').write_text(
            ''.join(f'{user}\t{item}\t{rating}\n' for user, item, rating, _ in ratings)
        )


def _reader(directory, **options):
    split = {'by': 'user', 'fractions': [0.8, 0.1, 0.1]}
    return reader_of('douban', [str(directory)], options, columns=COLUMNS, split=split)


def _expected():
    return pd.DataFrame(
        [
            (kind, user, f'{kind}/{item}', float(rating), int(rating > 3), day)
            for kind, ratings in RATINGS.items()
            for user, item, rating, day in ratings
        ],
        columns=['kind', 'user_id', 'item_id', 'rating', 'click', 'day'],
    )


@pytest.mark.parametrize('layout', ['reviews', 'ratings'])
def test_rows_are_the_ratings_of_three_kinds(tmp_path, layout):
    (_write_reviews if layout == 'reviews' else _write_ratings)(tmp_path)
    rows, rejected = read_all(_reader(tmp_path, layout=layout))
    rows['rating'] = rows['rating'].astype(float)
    columns = ['kind', 'user_id', 'item_id', 'rating', 'click']
    assert rows[columns].values.tolist() == _expected()[columns].values.tolist()
    assert not len(rejected)


def test_the_time_of_a_review_is_its_day(tmp_path):
    _write_reviews(tmp_path)
    rows, _ = read_all(_reader(tmp_path))
    days = pd.to_datetime(_expected()['day']).astype(int) // 10**9
    assert rows['timestamp'].tolist() == days.tolist()


def test_properties_of_users_are_joined_by_uid(tmp_path):
    _write_reviews(tmp_path)
    rows, _ = read_all(_reader(tmp_path))
    user = rows.set_index('user_id')
    assert (
        user.loc['1', ['living_place', 'join_month']].values.tolist()
        == [['浙江杭州', '2007-07']] * 2
    )
    assert user.loc['2', 'join_month'].tolist() == [None, None]
    assert user.loc['3', ['living_place', 'join_month']].tolist() == [None, None]


def test_ratings_alone_have_no_timestamps_and_properties(tmp_path):
    _write_ratings(tmp_path)
    reader = _reader(tmp_path, layout='ratings')
    assert not reader.has_timestamps
    rows, _ = read_all(reader)
    assert rows[['living_place', 'join_month']].isna().all(axis=None)
    assert sorted(set(rows['source'])) == [
        f'douban_{kind}/ratings.dat' for kind in ('book', 'movie', 'music')
    ]


def test_the_rating_of_a_click_can_be_chosen(tmp_path):
    _write_ratings(tmp_path)
    rows, _ = read_all(_reader(tmp_path, layout='ratings', min_rating=3))
    assert rows['click'].tolist() == (_expected()['rating'] >= 3).astype(int).tolist()


def test_kinds_can_be_chosen(tmp_path):
    _write_reviews(tmp_path)
    (tmp_path / 'musicreviews_cleaned.txt').unlink()
    rows, _ = read_all(_reader(tmp_path, kinds=['movie', 'book']))
    assert set(rows['kind']) == {'movie', 'book'}


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        (_line('1234'), 'too few fields (4, not 7)'),
        (_line(('1', '10', '', '', '', '2010-05-01', '0')), 'rating not a number'),
        (_line(('1', '10', 'good', '', '', '2010-05-01', '0')), 'rating not a number'),
        (_line(('1', '10', '5', '', '', '05/01/2010', '0')), 'time not in ISO 8601'),
    ],
)
def test_a_malformed_line_is_rejected_with_its_reason(tmp_path, line, reason):
    _write_reviews(tmp_path, extra=line)
    rows, rejected = read_all(_reader(tmp_path))
    assert len(rows) == 5
    assert rejected[['source', 'line', 'reason']].values.tolist() == [
        ['bookreviews_cleaned.txt', 4, reason]
    ]


@pytest.mark.parametrize(
    ('layout', 'sentence'),
    [
        ('reviews', 'contains no bookreviews_cleaned.txt'),
        ('ratings', 'No file matches .*douban_book/ratings.dat'),
    ],
)
def test_a_missing_file_is_named(tmp_path, layout, sentence):
    (tmp_path / 'readme.txt').write_text('x')
    with pytest.raises(UserError, match=sentence):
        _reader(tmp_path, layout=layout).shards()


def test_a_file_with_other_fields_is_refused(tmp_path):
    _write_reviews(tmp_path)
    (tmp_path / 'bookreviews_cleaned.txt').write_text('a\tb\n1\t2\n')
    with pytest.raises(UserError, match='has no field book_id: it is not a file of the Douban'):
        read_all(_reader(tmp_path))

"""MIND on small files in the published layout."""

import csv

import pandas as pd
import pytest

from mdctr.errors import UserError
from tests.beam_jobs.reading import read_all, reader_of

TRAIN = (
    '1\tU13740\t11/11/2019 9:05:58 AM\tN55189 N42782 N34694\tN55689-1 N35729-0\n'
    '2\tU91836\t11/12/2019 6:11:30 PM\t\tN35729-0 N42782-0 N55689-0\n'
    '3\tU73700\t11/14/2019 12:01:09 AM\tN55189\tN42782-1\n'
)
VALIDATION = '1\tU80234\t11/15/2019 12:37:50 PM\tN55189 N1\tN35729-1 N1-0\n'
NEWS = (
    'N55689\tsports\tfootball_nfl\tCharles Rogers, "ex-Lions" star\tHe said "so\thttps://a\t[]\t[]\n'
    'N35729\tnews\tnewsus\tÜber 5% in\tText\thttps://b\t[{"Label": "X"}]\t[]\n'
    'N42782\tsports\tbaseball_mlb\tWin\t\thttps://c\t[]\t[]\n'
    'N55189\ttv\ttvnews\tWheel\t\thttps://d\t[]\t[]\n'
    'N34694\ttv\ttvnews\tRose\t\thttps://e\t[]\t[]\n'
)
COLUMNS = (
    'history',
    'history_categories',
    'impression_id',
    'title',
    'title_words',
    'subcategory',
    'category',
)


def _write(directory, train=TRAIN):
    for part, behaviors in (('train', train), ('dev', VALIDATION)):
        folder = directory / f'MINDsmall_{part}'
        folder.mkdir()
        (folder / 'behaviors.tsv').write_text(behaviors)
        (folder / 'news.tsv').write_text(NEWS)
        (folder / 'entity_embedding.vec').write_text('Q1\t0.1\n')
    return [str(directory / 'MINDsmall_train'), str(directory / 'MINDsmall_dev')]


def _expected(directories):
    """The rows as pandas explodes them, in the order of the files."""
    parts = []
    for directory in sorted(directories):
        options = {'sep': '\t', 'header': None, 'quoting': csv.QUOTE_NONE}
        log = pd.read_csv(
            f'{directory}/behaviors.tsv',
            names=['impression_id', 'user_id', 'time', 'history', 'impressions'],
            dtype=str,
            keep_default_na=False,
            **options,
        )
        news = pd.read_csv(
            f'{directory}/news.tsv',
            names=['item_id', 'category', 'subcategory', 'title'],
            usecols=range(4),
            **options,
        )
        log['line'] = range(1, len(log) + 1)
        log['shown'] = log['impressions'].str.split(' ')
        rows = log.explode('shown', ignore_index=True)
        rows[['item_id', 'click']] = rows['shown'].str.split('-', expand=True)
        rows['timestamp'] = pd.to_datetime(rows['time']).astype(int) // 10**9
        rows['history'] = rows['history'].map(lambda text: text.split()[::-1])
        category = dict(zip(news['item_id'], news['category'], strict=True))
        rows['history_categories'] = [
            [category.get(item) for item in items] for items in rows['history']
        ]
        parts.append(rows.merge(news, how='left', on='item_id'))
    return pd.concat(parts, ignore_index=True)


def test_a_line_becomes_a_row_for_each_of_its_news(tmp_path):
    directories = _write(tmp_path)
    rows, rejected = read_all(reader_of('mind', directories, columns=COLUMNS))
    expected = _expected(directories)
    assert len(rows) == 8 and not len(rejected)
    rows['timestamp'] = rows['timestamp'].astype(int)
    for name in ('history', 'history_categories'):
        rows[name] = rows[name].map(list)
    compared = ['line', 'user_id', 'item_id', 'timestamp', 'click', *COLUMNS]
    compared.remove('title_words')
    assert _without_nan(rows[compared]) == _without_nan(expected[compared])


def _without_nan(frame):
    return frame.astype(object).where(frame.notna(), None).values.tolist()


def test_the_words_of_a_title_are_in_lower_case_without_punctuation(tmp_path):
    rows, _ = read_all(reader_of('mind', _write(tmp_path), columns=COLUMNS))
    words = dict(zip(rows['item_id'], rows['title_words'], strict=True))
    assert list(words['N55689']) == ['charles', 'rogers', 'ex', 'lions', 'star']
    assert list(words['N35729']) == ['über', '5', 'in']


def test_a_history_is_cut_to_the_most_recent_news(tmp_path):
    rows, _ = read_all(reader_of('mind', _write(tmp_path), {'max_length': 2}, columns=COLUMNS))
    first = rows[rows['user_id'] == 'U13740'].iloc[0]
    assert list(first['history']) == ['N34694', 'N42782']
    assert list(first['history_categories']) == ['tv', 'sports']


def test_the_directories_have_sources_of_their_own(tmp_path):
    rows, _ = read_all(reader_of('mind', _write(tmp_path)))
    assert sorted(set(rows['source'])) == [
        'MINDsmall_dev/behaviors.tsv',
        'MINDsmall_train/behaviors.tsv',
    ]


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        ('4\tU1\t11/11/2019 9:05:58 AM\tN1', 'too few fields (4, not 5)'),
        ('4\tU1\t2019-11-11 09:05\tN1\tN1-0', 'time not in the format %m/%d/%Y %I:%M:%S %p'),
        ('4\tU1\t11/11/2019 9:05:58 AM\tN1\tN1 N2', 'impressions not all of the form'),
        ('4\tU1\t11/11/2019 9:05:58 AM\tN1\tN1-0 N2-2', 'impressions not all of the form'),
        ('4\tU1\t11/11/2019 9:05:58 AM\tN1\t', 'impressions not all of the form'),
    ],
)
def test_a_malformed_line_is_rejected_with_its_reason(tmp_path, line, reason):
    rows, rejected = read_all(reader_of('mind', _write(tmp_path, TRAIN + line + '\n')))
    assert len(rows) == 8
    assert rejected['line'].tolist() == [4]
    assert rejected['reason'].iloc[0].startswith(reason)


def test_the_news_must_be_next_to_the_impressions(tmp_path):
    directories = _write(tmp_path)
    (tmp_path / 'MINDsmall_dev' / 'news.tsv').unlink()
    with pytest.raises(
        UserError, match=r'MINDsmall_dev/behaviors.tsv has no news.tsv next to it'
    ):
        reader_of('mind', directories).files()


def test_a_directory_without_impressions_is_refused(tmp_path):
    _write(tmp_path)
    path = tmp_path / 'MINDsmall_train' / 'news.tsv'
    with pytest.raises(UserError, match=r'contains no behaviors.tsv'):
        reader_of('mind', [str(path)]).files()

"""Tenrec on small files in the published layout."""

import io

import pandas as pd
import pytest

from mdctr.errors import UserError
from tests.beam_jobs.reading import read_all, reader_of

VIDEO = (
    'user_id,item_id,click,follow,like,share,video_category,watching_times,gender,age\n'
    '1,4,0,0,0,0,1,0,1,4\n'
    '1,1201,1,0,1,0,0,3,1,4\n'
    '2,4,1,0,0,0,\\N,1,\\N,0\n'
)
ARTICLE = (
    'user_id,item_id,click,gender,age,exposure_count,click_count,like_count,comment_count,'
    'read_percentage,item_score1,item_score2,category_second,category_first,item_score3\n'
    '2,4,1.0,2,3,500,20,1,0,0.5,1.2,3.4,1105,11,5.6\n'
    '3,9,1.0,2,3,500,20,1,0,0.5,1.2,3.4,\\N,\\N,5.6\n'
)
HISTORY = ','.join(f'hist_{n}' for n in range(1, 11))
CTR = (
    VIDEO.splitlines()[0] + f',{HISTORY}\n'
    '1,4,0,0,0,0,1,0,1,4,2,3,80936,781,111774,1230,26403,991,2362,1202\n'
    '2,5,1,0,0,0,0,1,1,4,7,8,0,0,0,0,0,0,0,0\n'
)


def _write(directory):
    for name, text in (
        ('QK-video', VIDEO),
        ('QB-video', VIDEO.replace('1201', '1202')),
        ('QB-article', ARTICLE),
        ('ctr_data_1M', CTR),
        ('sbr_data_1M', 'not read\n'),
    ):
        (directory / f'{name}.csv').write_text(text)


def _expected(text, scenario):
    """The rows as pandas reads them."""
    frame = pd.read_csv(io.StringIO(text), na_values=['\\N'], dtype=str)
    kind = scenario.split('-')[1]
    return frame.assign(
        scenario=scenario,
        item_id=kind + '/' + frame['item_id'],
        click=frame['click'].astype(float),
    )


def _reader(directory, options, columns=('video_category',)):
    """A reader, whose configuration is split at random."""
    return reader_of(
        'tenrec',
        [str(directory)],
        options,
        columns=columns,
        split={'by': 'user', 'fractions': [0.8, 0.1, 0.1]},
    )


@pytest.mark.parametrize(('name', 'text'), [('QK-video', VIDEO), ('QB-article', ARTICLE)])
def test_rows_are_those_of_the_file(tmp_path, name, text):
    _write(tmp_path)
    columns = ('gender', 'age', 'scenario')
    rows, rejected = read_all(_reader(tmp_path, {'files': [name]}, columns=columns))
    rows['click'] = rows['click'].astype(float)
    compared = ['user_id', 'item_id', 'click', *columns]
    assert _without_nan(rows[compared]) == _without_nan(_expected(text, name)[compared])
    assert not len(rejected)


def _without_nan(frame):
    return frame.astype(object).where(frame.notna(), None).values.tolist()


def test_a_video_without_a_category_is_in_a_domain_of_its_own(tmp_path):
    _write(tmp_path)
    rows, _ = read_all(_reader(tmp_path, {'files': ['QK-video']}))
    assert rows['video_category'].tolist() == ['1', '0', 'unknown']


def test_articles_have_two_categories_and_no_video_category(tmp_path):
    _write(tmp_path)
    columns = ('video_category', 'category_first', 'category_second')
    rows, _ = read_all(_reader(tmp_path, {'files': ['QB-article']}, columns))
    assert rows[list(columns)].values.tolist() == [[None, '11', '1105'], [None, None, None]]


def test_the_history_is_the_most_recent_first_without_filling(tmp_path):
    _write(tmp_path)
    rows, _ = read_all(_reader(tmp_path, {}, columns=('past_items', 'scenario')))
    history = [list(items) for items in rows['past_items']]
    ids = [1202, 2362, 991, 26403, 1230, 111774, 781, 80936, 3, 2]
    assert history == [[f'video/{n}' for n in ids], ['video/8', 'video/7']]
    assert set(rows['scenario']) == {'QK-video'}


def test_what_follows_the_impression_is_not_read(tmp_path):
    _write(tmp_path)
    rows, _ = read_all(_reader(tmp_path, {'files': ['QK-video', 'QB-article']}))
    later = {'watching_times', 'like', 'follow', 'share', 'click_count', 'read_percentage'}
    assert not later & set(rows.columns)


def test_a_malformed_line_is_rejected_with_its_reason(tmp_path):
    _write(tmp_path)
    (tmp_path / 'QK-video.csv').write_text(VIDEO + '3,4,1\n4,4,1,0,0,0,1,1,1,1,1\n')
    rows, rejected = read_all(_reader(tmp_path, {'files': ['QK-video']}))
    assert len(rows) == 3
    assert rejected[['line', 'reason']].values.tolist() == [
        [5, 'too few fields (3, not 10)'],
        [6, 'too many fields (11, not 10)'],
    ]


def test_a_missing_file_is_named(tmp_path):
    _write(tmp_path)
    with pytest.raises(UserError, match=r'contains no QK-article.csv'):
        _reader(tmp_path, {'files': ['QK-article']}).files()


def test_a_file_with_other_fields_is_refused(tmp_path):
    (tmp_path / 'ctr_data_1M.csv').write_text(VIDEO)
    with pytest.raises(UserError, match=r'has no field hist_1: it is not the file ctr_data_1M'):
        read_all(_reader(tmp_path, {}))


def test_a_subset_is_not_read_next_to_its_whole(tmp_path):
    with pytest.raises(UserError, match='ctr_data_1M are among those of QK-video'):
        _reader(tmp_path, {'files': ['QK-video', 'ctr_data_1M']})


def test_a_split_by_time_is_refused(tmp_path):
    _write(tmp_path)
    with pytest.raises(UserError, match='split.by is days, but the log has no timestamps'):
        reader_of('tenrec', [str(tmp_path)])

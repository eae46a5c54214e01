"""KuaiRand: the real log against pandas, and what must never be read of it."""

import numpy as np
import pandas as pd
import pytest

from mdctr.errors import UserError
from tests.beam_jobs.raw_data import kuairand
from tests.beam_jobs.reading import read_all, reader_of

AFTERWARDS = {
    'is_like',
    'is_follow',
    'is_comment',
    'is_forward',
    'is_hate',
    'long_view',
    'play_time_ms',
    'profile_stay_time',
    'comment_stay_time',
    'is_profile_enter',
}
LOG = (
    'user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,'
    'is_forward,is_hate,long_view,play_time_ms,duration_ms,profile_stay_time,'
    'comment_stay_time,is_profile_enter,is_rand,tab\n'
)
VIDEOS = (
    'video_id,author_id,video_type,upload_dt,upload_type,visible_status,'
    'video_duration,server_width,server_height,music_id,music_type,tag\n'
)


def _row(user='1', video='7', time='1650812741436', click='1', tab='1'):
    return f'{user},{video},20220425,0,{time},{click},1,1,1,1,1,1,9,5000,9,9,1,0,{tab}\n'


def _write(directory, log, name='log_standard_4_22_to_5_08_1k.csv'):
    (directory / name).write_text(LOG + log)
    (directory / 'user_features_1k.csv').write_text(
        'user_id,user_active_degree,follow_user_num_range\n1,full_active,"(10,50]"\n'
    )
    (directory / 'video_features_basic_1k.csv').write_text(
        VIDEOS + '7,70,NORMAL,2022-04-20,Web,0.0,5000.0,720.0,1280.0,3,9.0,"12,5"\n'
        '8,70,NORMAL,,Web,0.0,,720.0,1280.0,3,,\n'
    )
    (directory / 'video_features_statistic_1k.csv').write_text('video_id,show_cnt\n7,5\n')


def test_the_real_log_against_pandas():
    directory = kuairand()
    features = (
        'fans_user_num',
        'onehot_feat3',
        'author_id',
        'tag',
        'upload_dt',
        'first_tag',
        'video_age_days',
        'tab',
    )
    rows, rejected = read_all(reader_of('kuairand', [directory], columns=features))
    assert rejected.empty
    log, users, videos = (
        pd.read_csv(f'{directory}/{name}_pure.csv.gz', dtype=str, keep_default_na=False)
        for name in ('log_standard_4_22_to_5_08', 'user_features', 'video_features_basic')
    )
    assert len(rows) == 185061 and (rows['line'] == log.index + 2).all()
    assert (rows['user_id'] == log['user_id']).all()
    assert (rows['item_id'] == log['video_id']).all()
    assert (rows['click'] == log['is_click']).all()
    assert (rows['tab'] == log['tab']).all()
    assert (rows['timestamp'] == log['time_ms'].astype('int64') / 1000).all()
    joined = log.merge(users, on='user_id', how='left').merge(videos, on='video_id', how='left')
    for name in ('fans_user_num', 'onehot_feat3', 'author_id', 'upload_dt'):
        assert (rows[name] == joined[name]).all()
    assert (rows['tag'].str.join(',') == joined['tag']).all()
    china = pd.to_datetime(log['time_ms'].astype('int64') + 8 * 3600 * 1000, unit='ms')
    age = (china.dt.floor('D') - pd.to_datetime(joined['upload_dt'])).dt.days
    assert (rows['video_age_days'] == age).all()


def test_nothing_from_after_the_impression_is_read(tmp_path):
    _write(tmp_path, _row())
    reader = reader_of('kuairand', [str(tmp_path)], columns=(*AFTERWARDS, 'show_cnt', 'tab'))
    rows, _ = read_all(reader)
    assert not AFTERWARDS & set(rows.columns) and 'show_cnt' not in rows.columns
    assert not [path for path in reader.files() if 'statistic' in path]


def test_small_log(tmp_path):
    _write(
        tmp_path,
        _row()
        + _row(video='8', user='2')
        + _row(time='soon', video='9')
        + _row(time='')
        + 'a,b\n',
    )
    features = (
        'user_active_degree',
        'follow_user_num_range',
        'tag',
        'first_tag',
        'video_age_days',
        'video_duration',
        'tab',
    )
    rows, rejected = read_all(reader_of('kuairand', [str(tmp_path)], columns=features))
    first, second, third = rows.to_dict('records')
    assert list(first['tag']) == ['12', '5'] and first['first_tag'] == '12'
    assert first['follow_user_num_range'] == '(10,50]'
    assert first['video_age_days'] == 4  # 23:05 of 2022-04-24 in China
    assert float(first['timestamp']) == 1650812741.436
    assert second['user_active_degree'] is None and list(second['tag']) == []
    assert second['first_tag'] is None and pd.isna(second['video_age_days'])
    assert np.isnan(third['timestamp'])
    assert rejected[['line', 'reason']].values.tolist()[0] == [4, 'timestamp not a number']
    assert rejected['line'].tolist() == [4, 6]


def test_which_logs(tmp_path):
    _write(tmp_path, _row())
    _write(tmp_path, _row() * 2, 'log_standard_4_08_to_4_21_1k.csv')
    _write(tmp_path, _row() * 4, 'log_random_4_22_to_5_08_1k.csv')
    for logs, count in (('standard', 3), ('random', 4), ('both', 7)):
        rows, _ = read_all(reader_of('kuairand', [str(tmp_path)], {'logs': logs}))
        assert len(rows) == count


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match=r'--set dataset.inputs=\[DIRECTORY\]'):
        reader_of('kuairand').files()
    (tmp_path / 'log_standard.csv').write_text('a\n1\n')
    with pytest.raises(UserError, match=r'contains no file named log_standard_\*.csv'):
        reader_of('kuairand', [str(tmp_path)]).files()
    _write(tmp_path, '')
    (tmp_path / 'log_standard_4_22_to_5_08_1k.csv').write_text('user_id,video_id\n1,2\n')
    with pytest.raises(
        UserError, match='has no field duration_ms: it is not a log of KuaiRand'
    ):
        read_all(reader_of('kuairand', [str(tmp_path)]))
    with pytest.raises(UserError, match='logs must be one of'):
        reader_of('kuairand', [str(tmp_path)], {'logs': 'all'})

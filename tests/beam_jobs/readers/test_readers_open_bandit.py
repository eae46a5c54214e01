"""The Open Bandit Dataset, the published small version against pandas."""

import pandas as pd
import pytest

from mdctr import storage
from mdctr.errors import UserError
from tests.beam_jobs.raw_data import public_data
from tests.beam_jobs.reading import read_all, reader_of

USER = [f'user_feature_{n}' for n in range(4)]
ITEM = [f'item_feature_{n}' for n in range(4)]


@pytest.mark.parametrize('policies', [['random'], ['bts', 'random']])
def test_against_pandas(policies):
    directory = public_data('open-bandit')
    rows, rejected = read_all(
        reader_of(
            'open-bandit', [directory], {'policies': policies}, columns=('affinity', 'campaign')
        )
    )
    assert rejected.empty
    assert len(rows) == 30000 * len(policies)
    for policy in policies:
        for campaign in ('all', 'men', 'women'):
            folder = f'{policy}/{campaign}'
            raw = pd.read_csv(f'{directory}/{folder}/{campaign}.csv', dtype=str)
            items = pd.read_csv(f'{directory}/bts/{campaign}/item_context.csv', dtype=str)
            ours = rows[rows['source'] == f'{folder}/{campaign}.csv'].reset_index(drop=True)
            assert (ours['line'] == raw.index + 2).all()
            assert (ours['campaign'] == campaign).all() and (ours['policy'] == policy).all()
            for name in ('timestamp', 'click', 'position', *USER):
                assert (ours[name] == raw[name]).all()
            assert (ours['user_id'] == raw[USER].agg('|'.join, axis=1)).all()
            assert (ours['item_id'] == campaign + '/' + raw['item_id']).all()
            context = items.set_index('item_id').loc[raw['item_id']].reset_index()
            for name in ITEM:
                assert (ours[name] == context[name]).all()
            affinity = [
                row[f'user-item_affinity_{row["item_id"]}'] for _, row in raw.iterrows()
            ]
            assert ours['affinity'].tolist() == affinity
    assert not [name for name in rows.columns if 'propensity' in name]
    assert rows['affinity'].astype(float).nunique() > 1


def _write(directory, policy, campaign, log):
    folder = directory / policy / campaign
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f'{campaign}.csv').write_text(log)
    (folder / 'item_context.csv').write_text(
        f',item_id,{",".join(ITEM)}\n0,0,0.5,a,b,c\n1,1,0.7,d,e,f\n'
    )


def test_packed_files_on_an_object_store_are_found(bucket):
    names = [
        f'{folder}.csv.gz'
        for campaign in ('all', 'men', 'women')
        for folder in (f'random/{campaign}/{campaign}', f'bts/{campaign}/item_context')
    ]
    for name in names:
        storage.write_bytes(f'{bucket}/obd/{name}', b'x')
    reader = reader_of('open-bandit', [f'{bucket}/obd'], {'policies': ['random']})
    assert sorted(reader.files()) == sorted(f'{bucket}/obd/{name}' for name in names)


def test_odd_items_keep_their_rows(tmp_path):
    header = (
        f',timestamp,item_id,position,click,propensity_score,{",".join(USER)},'
        'user-item_affinity_0,user-item_affinity_1\n'
    )
    for campaign in ('all', 'men', 'women'):
        _write(
            tmp_path,
            'bts',
            campaign,
            header
            + ''.join(
                f'0,2019-11-24 00:00:17.004101+00:00,{item},1,0,0.1,u,v,w,x,0.0,3.0\n'
                for item in ('1', '2', '', 'x', '-1', '0')
            )
            + 'short,line\n',
        )
    rows, rejected = read_all(reader_of('open-bandit', [str(tmp_path)], {'policies': ['bts']}))
    rows = rows[rows['campaign'] == 'men']
    assert rows['item_id'].tolist() == ['men/1', 'men/2', '', 'men/x', 'men/-1', 'men/0']
    assert rows['affinity'].tolist() == ['3.0', None, None, None, None, '0.0']
    assert rows['item_feature_1'].tolist() == ['d', None, None, None, None, 'a']
    assert rejected['line'].tolist() == [8] * 3
    assert rejected['source'].tolist() == [f'bts/{c}/{c}.csv' for c in ('all', 'men', 'women')]


def test_users_of_values_with_separators_are_told_apart(tmp_path):
    header = f',timestamp,item_id,position,click,propensity_score,{",".join(USER)}\n'
    users = ('u|v,w,x,y', 'u,v|w,x,y', 'u,v,w,x')
    log = ''.join(f'0,2019-11-24 00:00:17+00:00,1,1,0,0.1,{user}\n' for user in users)
    for campaign in ('all', 'men', 'women'):
        _write(tmp_path, 'bts', campaign, header + log)
    rows, _ = read_all(reader_of('open-bandit', [str(tmp_path)], {'policies': ['bts']}))
    assert rows['user_id'].tolist()[:3] == ['u\\|v|w|x|y', 'u|v\\|w|x|y', 'u|v|w|x']


def test_mistakes(tmp_path):
    with pytest.raises(UserError, match=r'policies\[0\] must be one of bts, random'):
        reader_of('open-bandit', None, {'policies': ['best']})
    with pytest.raises(UserError, match=r'No file matches .*bts/all/all\.csv'):
        reader_of('open-bandit', [str(tmp_path)]).files()
    for campaign in ('all', 'men', 'women'):
        _write(tmp_path, 'bts', campaign, 'a,b\n1,2\n')
    with pytest.raises(UserError, match='all.csv has no field click: it is not a log'):
        read_all(reader_of('open-bandit', [str(tmp_path)], {'policies': ['bts']}))

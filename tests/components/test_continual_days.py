"""The days of a raw log: what is there, what comes next, what came late or twice."""

import os

import pytest

from beam_jobs.config import DatasetConfig, FeatureConfig, SplitConfig
from beam_jobs.dataset import Manifest, Rows, Split
from beam_jobs.errors import UserError
from components.continual.config import ContinualConfig
from components.continual.days import RawLog, first_days_of


def raw(*inputs, start='2020-01-30', periods=2, **continual):
    return RawLog(
        DatasetConfig('generic', ['shop'], [
            FeatureConfig('user_id', owner='user'), FeatureConfig('item_id', owner='item')],
            SplitConfig(by='periods', periods=periods, period_days=1, start=start),
            inputs=list(inputs), extendable=True),
        ContinualConfig(['a'], ['b'], **continual))


def put(folder, *days, text='x', name='{}.csv'):
    for day in days:
        path = os.path.join(folder, name.format(day))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as file:
            file.write(text)


def manifest_of(folder, *days):
    inputs = [{'name': f'{day}.csv', 'size': os.path.getsize(folder / f'{day}.csv'),
               'sha256': ''} for day in days]
    return Manifest('shops', 'f', [], [], {day: Split((day, day), {}, {}) for day in days},
                    Rows(0, 0, 0, 0, 0, 0, 0), source={'inputs': inputs})


def test_days_are_found_across_the_month_and_in_folders(tmp_path):
    put(tmp_path, '2020-01-29', '2020-01-31', '2020-02-01', '2020-02-31')
    assert raw(f'{tmp_path}/{{day}}.csv').days() == ['2020-01-31', '2020-02-01']
    put(tmp_path, '2020-01-30', '2020-02-02', name='day={}/part-0.csv')
    for pattern in ('day={day}', 'day={day}/', 'day={day}/*.csv', 'day={day}/part-0.csv'):
        assert raw(f'{tmp_path}/{pattern}').days() == ['2020-01-30', '2020-02-02']


def test_a_day_is_there_when_all_inputs_have_rows_and_its_marker_is(tmp_path):
    put(tmp_path, '2020-01-30', '2020-01-31', '2020-02-01', name='{}/clicks.csv')
    log = raw(f'{tmp_path}/{{day}}/clicks.csv', f'{tmp_path}/{{day}}/views.csv')
    put(tmp_path, '2020-01-31', name='{}/views.csv')
    put(tmp_path, '2020-02-01', name='{}/views.csv', text='')
    assert log.days() == ['2020-01-31']
    marked = raw(f'{tmp_path}/{{day}}/clicks.csv',
                 success_marker=f'{tmp_path}/{{day}}/_SUCCESS')
    assert marked.days() == []
    put(tmp_path, '2020-02-01', name='{}/_SUCCESS', text='')
    assert marked.days() == ['2020-02-01']


def test_days_come_in_order_and_a_missing_one_is_waited_for(tmp_path):
    pattern = f'{tmp_path}/{{day}}.csv'
    put(tmp_path, '2020-01-30', '2020-01-31', '2020-02-02')
    assert raw(pattern).next('2020-01-30') == '2020-01-31'
    assert raw(pattern).next('2020-01-31') == '2020-02-02'  # one later day is there
    assert raw(pattern, wait_days=2).next('2020-01-31') is None
    put(tmp_path, '2020-02-05')
    assert raw(pattern, wait_days=2).next('2020-01-31') == '2020-02-02'
    put(tmp_path, '2020-02-01')
    assert raw(pattern, wait_days=2).next('2020-01-31') == '2020-02-01'
    assert raw(pattern).next('2020-02-05') is None


def test_the_first_days_must_all_be_there(tmp_path):
    log = raw(f'{tmp_path}/{{day}}.csv')
    assert first_days_of(log) is None
    put(tmp_path, '2020-01-30', '2020-01-31')
    assert first_days_of(log) is None
    put(tmp_path, '2020-02-01')
    assert first_days_of(log) == ['2020-01-30', '2020-01-31', '2020-02-01']
    assert log.inputs('2020-01-30', '2020-02-01') == [
        f'{tmp_path}/2020-01-30.csv', f'{tmp_path}/2020-02-01.csv']
    (tmp_path / '2020-01-31.csv').unlink()
    with pytest.raises(UserError, match='The log of 2020-01-31 is missing, and later days'):
        first_days_of(log)


def test_a_day_that_came_late_or_twice_is_said(tmp_path):
    log = raw(f'{tmp_path}/{{day}}.csv')
    put(tmp_path, '2020-01-30', '2020-02-01')
    manifest = manifest_of(tmp_path, '2020-01-30', '2020-02-01')
    put(tmp_path, '2020-02-02')  # new, neither late nor twice
    assert log.notes(manifest) == []
    put(tmp_path, '2020-01-31')
    put(tmp_path, '2020-02-01', text='more rows')
    late, twice = log.notes(manifest)
    assert late.startswith('The log of 2020-01-31 came after that of 2020-02-01')
    assert twice.startswith('The log of 2020-02-01 is in the dataset already')
    assert f'{tmp_path}/2020-02-01.csv is new or has changed' in twice

"""The days of a raw log: which are complete, which is next, which came late or twice."""

import dataclasses
import os
import time

import pytest

from beam_jobs.config import CategoricalFeature, DatasetConfig, SplitConfig
from components.continual.config import ContinualConfig
from components.continual.days import RawLog, first_days_of
from mdctr import storage
from mdctr.dataset import Dataset
from mdctr.errors import UserError
from mdctr.file_records import FileRecord
from mdctr.manifest import Manifest, Rows, Split
from mdctr.storage import file_digest


def raw(*inputs, start='2020-01-30', periods=2, **continual):
    return RawLog(
        DatasetConfig(
            reader='generic',
            domain_columns=['shop'],
            features=[
                CategoricalFeature(name='user_id', owner='user'),
                CategoricalFeature(name='item_id', owner='item'),
            ],
            split=SplitConfig(by='periods', periods=periods, period_days=1, first_day=start),
            inputs=list(inputs),
            extendable=True,
        ),
        ContinualConfig(source_domains=['a'], target_domains=['b'], **continual),
    )


def put(folder, *days, text='x', name='{}.csv'):
    for day in days:
        path = os.path.join(folder, name.format(day))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as file:
            file.write(text)


def manifest_of(folder, *days):
    inputs = [
        {
            'name': f'{day}.csv',
            'size': os.path.getsize(folder / f'{day}.csv'),
            'sha256': file_digest(str(folder / f'{day}.csv')),
        }
        for day in days
    ]
    return Manifest(
        'shops',
        'f',
        [],
        [],
        {day: Split((day, day), {}, {}) for day in days},
        Rows(0, 0, 0, 0, 0, 0, 0),
        source={'inputs': inputs},
    )


def test_days_are_found_across_the_month_and_in_folders(tmp_path):
    put(tmp_path, '2020-01-29', '2020-01-31', '2020-02-01', '2020-02-31')
    assert raw(f'{tmp_path}/{{day}}.csv').days() == ['2020-01-31', '2020-02-01']
    put(tmp_path, '2020-01-30', '2020-02-02', name='day={}/part-0.csv')
    for pattern in ('day={day}', 'day={day}/', 'day={day}/*.csv', 'day={day}/part-0.csv'):
        assert raw(f'{tmp_path}/{pattern}').days() == ['2020-01-30', '2020-02-02']


def test_a_day_is_complete_when_all_inputs_have_rows_and_its_marker_exists(tmp_path):
    put(tmp_path, '2020-01-30', '2020-01-31', '2020-02-01', name='{}/clicks.csv')
    log = raw(f'{tmp_path}/{{day}}/clicks.csv', f'{tmp_path}/{{day}}/views.csv')
    put(tmp_path, '2020-01-31', name='{}/views.csv')
    put(tmp_path, '2020-02-01', name='{}/views.csv', text='')
    assert log.days() == ['2020-01-31']
    # A part without rows among others is no sign of a day that is still being written.
    put(tmp_path, '2020-01-31', name='{}/parts/part-0.csv')
    put(tmp_path, '2020-01-31', '2020-02-01', name='{}/parts/part-1.csv', text='')
    assert raw(f'{tmp_path}/{{day}}/parts/*.csv').days() == ['2020-01-31']
    marked = raw(
        f'{tmp_path}/{{day}}/clicks.csv', success_marker=f'{tmp_path}/{{day}}/_SUCCESS'
    )
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


def test_the_dataset_waits_for_all_first_days(tmp_path):
    log = raw(f'{tmp_path}/{{day}}.csv')
    assert first_days_of(log) is None
    put(tmp_path, '2020-01-30', '2020-01-31')
    assert first_days_of(log) is None
    put(tmp_path, '2020-02-01')
    assert first_days_of(log) == ['2020-01-30', '2020-01-31', '2020-02-01']
    assert log.inputs('2020-01-30', '2020-02-01') == [
        f'{tmp_path}/2020-01-30.csv',
        f'{tmp_path}/2020-02-01.csv',
    ]
    (tmp_path / '2020-01-31.csv').unlink()
    with pytest.raises(UserError, match='The log of 2020-01-31 is missing, and later days'):
        first_days_of(log)


def test_a_day_that_came_late_or_twice_is_reported(tmp_path):
    log = raw(f'{tmp_path}/{{day}}.csv')
    put(tmp_path, '2020-01-30', '2020-02-01')
    manifest = manifest_of(tmp_path, '2020-01-30', '2020-02-01')
    put(tmp_path, '2020-02-02')  # new, neither late nor twice
    assert log.notes(Dataset(str(tmp_path), manifest)) == []
    put(tmp_path, '2020-01-31')
    put(tmp_path, '2020-02-01', text='more rows')
    late, twice = log.notes(Dataset(str(tmp_path), manifest))
    assert late.startswith('The log of 2020-01-31 is not in the dataset, which has later days')
    assert twice.startswith('The log of 2020-02-01 is in the dataset already')
    assert f'{tmp_path}/2020-02-01.csv is new or has changed' in twice


def test_a_correction_that_leaves_the_size_is_reported(tmp_path):
    log = raw(f'{tmp_path}/{{day}}.csv')
    put(tmp_path, '2020-01-30', text='click,0')
    name = 'examples/2020-01-30/part-0'
    manifest = dataclasses.replace(
        manifest_of(tmp_path, '2020-01-30'), files={name: FileRecord(0, '')}
    )
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    os.utime(tmp_path / name, (1000, 1000))  # built long ago
    put(tmp_path, '2020-01-30', text='click,0')  # copied once more, unchanged
    assert log.notes(Dataset(str(tmp_path), manifest)) == []
    put(tmp_path, '2020-01-30', text='click,1')
    (sentence,) = log.notes(Dataset(str(tmp_path), manifest))
    assert '2020-01-30.csv is new or has changed since' in sentence
    os.utime(tmp_path / '2020-01-30.csv', (999, 999))  # as old as the dataset: not read again
    assert log.notes(Dataset(str(tmp_path), manifest)) == []


def test_a_correction_on_an_object_store_that_leaves_the_size_is_reported(bucket, tmp_path):
    log = raw(f'{bucket}/{{day}}.csv')
    put(tmp_path, '2020-01-30', text='click,0')
    name = 'examples/2020-01-30/part-0'
    manifest = dataclasses.replace(
        manifest_of(tmp_path, '2020-01-30'), files={name: FileRecord(0, '')}
    )
    dataset = Dataset(bucket + '/shops', manifest)
    storage.write_text(bucket + '/2020-01-30.csv', 'click,1')
    time.sleep(1)  # object stores give whole seconds
    storage.write_text(dataset.path(name), '')
    assert log.notes(dataset) == []  # older than the dataset: not read again
    storage.write_text(bucket + '/2020-01-30.csv', 'click,0')
    assert log.notes(dataset) == []  # copied once more, unchanged
    storage.write_text(bucket + '/2020-01-30.csv', 'click,1')
    (sentence,) = log.notes(dataset)
    assert '2020-01-30.csv is new or has changed since' in sentence

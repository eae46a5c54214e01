"""What a build refuses, survives and never loses."""

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.build import statistics
from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    HistoryFeature,
    SamplingConfig,
    SplitConfig,
)
from mdctr.dataset import open_dataset
from mdctr.dataset_versions import list_versions
from mdctr.errors import UserError
from tests.beam_jobs.examples_by_hand import read_examples
from tests.beam_jobs.log_in_memory import TableReader
from tests.full_disk import small_files
from tests.processes import with_tests

DAY = 86400
DAYS = {'train': ('1970-01-02', '1970-01-03'), 'test': ('1970-01-04', '1970-01-04')}


def config(**changes) -> DatasetConfig:
    settings = {
        'reader': 'none',
        'domain_columns': ['scene'],
        'user_buckets': 3,
        'features': [
            CategoricalFeature(name='user_id'),
            CategoricalFeature(name='item_id', owner='item'),
            HistoryFeature(name='recent', feature='item_id', max_length=3),
        ],
        'split': SplitConfig(by='days', days=DAYS),
    }
    return DatasetConfig(**(settings | changes))


def log(rows: int = 60, **columns) -> pa.Table:
    given = {
        'user_id': [f'u{n % 7}' for n in range(rows)],
        'item_id': [f'i{n % 11}' for n in range(rows)],
        'scene': [f's{n % 3}' for n in range(rows)],
        'timestamp': [DAY + 3 * DAY * n // rows for n in range(rows)],
        'click': [1] * rows,
    }
    return pa.table(given | columns)


def build(tmp_path, table, directory='dataset', beam_args=(), rejected=None, **changes):
    reader = table if isinstance(table, TableReader) else TableReader(table, rejected=rejected)
    return build_dataset(
        config(**changes),
        'test',
        str(tmp_path / directory),
        str(tmp_path),
        beam_args,
        progress=False,
        reader=reader,
    ).manifest


def test_no_rows(tmp_path):
    with pytest.raises(UserError, match='no rows: check `inputs`'):
        build(tmp_path, log(0))
    with pytest.raises(UserError, match='no rows: check `inputs`'):
        build_dataset(
            config(),
            'test',
            str(tmp_path / 'dataset'),
            str(tmp_path),
            reader=TableReader(log(0), shards=0),
            progress=False,
        )


def test_no_row_that_can_be_used(tmp_path):
    with pytest.raises(
        UserError,
        match='None of the 60 rows of the log are valid.*"click not 0 or 1".*log.csv:1',
    ):
        build(tmp_path, log(click=['yes'] * 60), max_rejected_fraction=1.0)


def test_directory_of_an_unknown_scheme(tmp_path):
    with pytest.raises(UserError, match='gopher://here has an unknown scheme'):
        build_dataset(config(), 'test', 'gopher://here', '', reader=TableReader(log()))


def test_split_without_rows_says_which_days_there_are(tmp_path):
    days = DAYS | {'validation': ('1970-02-01', '1970-02-07')}
    with pytest.raises(
        UserError,
        match='split validation .1970-02-01 to 1970-02-07. has '
        'no rows: the log covers 1970-01-02 to 1970-01-04',
    ):
        build(tmp_path, log(), split=SplitConfig(by='days', days=days))
    assert list_versions(str(tmp_path / 'dataset')) == []


def test_column_that_the_log_lacks(tmp_path, capfd, caplog):
    with pytest.raises(UserError, match='no column tab, which domain needs.*scene') as error:
        build(tmp_path, log(), domain_columns=['tab'])
    assert type(error.value) is UserError
    assert 'Traceback' not in capfd.readouterr().err + caplog.text


class TornFile(TableReader):
    """Its second shard cannot be read to the end."""

    def read(self, shard):
        yield from super().read(shard)
        if shard[0] > 0:
            raise OSError(5, 'Input/output error', 'log.csv.gz')


def test_log_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match='log cannot be read: .*Input/output.*log.csv.gz'):
        build_dataset(
            config(),
            'test',
            str(tmp_path / 'dataset'),
            str(tmp_path),
            progress=False,
            reader=TornFile(log()),
        )
    assert list_versions(str(tmp_path / 'dataset')) == []


def test_ratio_of_a_domain_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match='names the domain s9.*it has s0, s1, s2'):
        build(
            tmp_path,
            log(),
            sampling=SamplingConfig(ctr_ratio={'s0': 1.0, 's1': 1.0, 's2': 1.0, 's9': 1.0}),
        )
    with pytest.raises(UserError, match='no ratio for the domain s1'):
        build(tmp_path, log(), sampling=SamplingConfig(ctr_ratio={'s0': 1.0, 's2': 1.0}))


def test_history_of_a_domain_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match='History recent .* domain s9.*it has s0, s1, s2'):
        build(
            tmp_path,
            log(),
            features=[
                *config().features[:2],
                HistoryFeature(
                    name='recent', feature='item_id', max_length=3, domains=['s1', 's9']
                ),
            ],
        )


def test_domain_without_a_click_that_asks_for_sampling_has_no_examples(tmp_path, caplog):
    clicks = [int(n % 3 != 2) for n in range(60)]
    manifest = build(tmp_path, log(click=clicks), sampling=SamplingConfig(ctr_ratio=0.5))
    for split in manifest.splits.values():
        assert set(split.examples) == {'s0', 's1'}
    assert manifest.rows.down_sampled == 20
    assert manifest.rows.sampled_negatives == 80
    assert 's2 has no click' in caplog.text


def test_user_who_knows_every_item_gets_fewer_negatives(tmp_path):
    # Two users share two items; a third item is known to user a alone.
    table = pa.table(
        {
            'user_id': [*'aaabb'],
            'item_id': [*'xyzxy'],
            'scene': ['s'] * 5,
            'timestamp': [DAY, DAY + 1, 3 * DAY, DAY, 3 * DAY],
            'click': [1] * 5,
        }
    )
    manifest = build(tmp_path, table, sampling=SamplingConfig(ctr_ratio=0.5))
    rows = manifest.rows
    assert (rows.sampled_negatives, rows.shortfall) == (4, 6)
    examples = read_examples(str(tmp_path / 'dataset'), 'train')
    assert sum(example['click'] == [0] for example in examples) == 2


@pytest.mark.parametrize('clicks', [[0] * 60, [1] * 60])
def test_logs_of_one_class(tmp_path, clicks):
    manifest = build(tmp_path, log(click=clicks))
    assert sum(sum(s.examples.values()) for s in manifest.splits.values()) == 60
    assert sum(sum(s.clicks.values()) for s in manifest.splits.values()) == sum(clicks)


def test_thousands_of_domains_some_of_one_row(tmp_path):
    rng = np.random.default_rng(0)
    scene = np.minimum(rng.zipf(1.2, 9000), 4000)
    table = log(9000, scene=[f'{n}' for n in scene])
    manifest = build(
        tmp_path,
        table,
        domain_columns=['scene', 'user_id'],
        sampling=SamplingConfig(ctr_ratio=0.5),
    )
    names = {f'{s}|u{n % 7}' for n, s in enumerate(scene)}
    assert len(names) > 2000
    seen = set().union(*(split.examples for split in manifest.splits.values()))
    assert seen == names
    assert len(open_dataset(str(tmp_path / 'dataset')).example_files('train')) == 3


def test_repeated_impressions_are_kept_once_with_their_click(tmp_path):
    table = pa.table(
        {
            'user_id': ['a'] * 6,
            'item_id': ['x', 'x', 'x', 'y', 'y', 'x'],
            'scene': ['s'] * 5 + ['t'],
            'timestamp': [DAY] * 5 + [3 * DAY],
            'click': [0, 1, 0, 0, 0, 0],
        }
    )
    manifest = build(tmp_path, table)
    assert (manifest.rows.duplicates, manifest.rows.kept) == (3, 3)
    examples = read_examples(str(tmp_path / 'dataset'), 'train')
    assert sorted(example['click'] for example in examples) == [[0], [1]]


def test_rejected_rows_are_written_with_their_places(tmp_path):
    from beam_jobs.readers.base import rejects

    table = log(click=[1] * 59 + [5])
    manifest = build(
        tmp_path,
        table,
        max_rejected_fraction=0.5,
        rejected=rejects('other.csv', [3, 9], ['too many fields'] * 2, ['a,b,c', '"\u2028é']),
    )
    assert manifest.rows.reasons == {'click not 0 or 1': 1, 'too many fields': 2}
    assert (manifest.rows.read, manifest.rows.rejected) == (62, 3)
    rows = []
    dataset = open_dataset(str(tmp_path / 'dataset'))
    for name in dataset.manifest.files:
        if name.startswith('rejected/'):
            with open(dataset.path(name), encoding='utf-8') as file:
                rows += [json.loads(line) for line in file]
    assert {(r['source'], r['line'], r['reason']) for r in rows} == {
        ('log.csv', 60, 'click not 0 or 1'),
        ('other.csv', 3, 'too many fields'),
        ('other.csv', 9, 'too many fields'),
    }
    assert {r['row'] for r in rows if r['source'] == 'other.csv'} == {'a,b,c', '"\u2028é'}


def test_the_log_says_what_became_of_the_rows(tmp_path, caplog):
    caplog.set_level(logging.INFO, 'beam_jobs')
    table = log(click=[1] * 58 + [5, 1])
    late = table.set_column(3, 'timestamp', pa.array([40 * DAY] * 60)).slice(0, 2)
    build(
        tmp_path,
        pa.concat_tables([table, table.slice(0, 3), late]).combine_chunks(),
        max_rejected_fraction=0.5,
    )
    assert (
        'Rows of the log: 65 read, 1 rejected, 3 repeated impressions, 2 outside of the '
        'splits, 0 down-sampled, 59 kept; 0 negatives sampled' in caplog.text
    )


def test_values_with_line_breaks_are_unseen(tmp_path):
    table = log(brand=['a\nb' if n % 2 else 'c' for n in range(60)])
    features = [*config().features, CategoricalFeature(name='brand')]
    manifest = build(tmp_path, table, features=features)
    assert manifest.feature('brand').size == 2
    examples = read_examples(str(tmp_path / 'dataset'), 'train')
    assert {example['brand'][0] for example in examples} == {0, 1}


def test_directory_that_is_a_file_or_under_one(tmp_path):
    (tmp_path / 'file').write_text('')
    for directory in ('file/dataset', 'file'):
        with pytest.raises(UserError, match='file.* cannot be read or written: Not a dir'):
            build(tmp_path, log(), directory)


def test_other_files_in_the_directory_are_left_alone(tmp_path):
    (tmp_path / 'dataset').mkdir()
    (tmp_path / 'dataset' / 'thesis.tex').write_text('years of work')
    build(tmp_path, log())
    assert (tmp_path / 'dataset' / 'thesis.tex').read_text() == 'years of work'


def test_disk_that_is_full(tmp_path):
    reader = TableReader(log(3000))
    pickle.dumps(reader)  # writes the file that the copies of the reader share
    expected = 'cannot be read or written: File too large'
    with small_files(8192), pytest.raises(UserError, match=expected):
        build(tmp_path, reader)
    assert list_versions(str(tmp_path / 'dataset')) == []
    build(tmp_path, log(3000))


def test_disk_that_is_full_when_the_statistics_are_written(tmp_path, monkeypatch, capfd):
    def full(path, data):
        raise OSError(28, 'No space left on device', path)

    monkeypatch.setattr(statistics, 'write_bytes', full)
    with pytest.raises(UserError, match='The disk of .* is full: free some space') as error:
        build(tmp_path, log())
    assert type(error.value) is UserError
    assert 'Traceback' not in capfd.readouterr().err


_KILLED = """
import os, sys, time
from tests.beam_jobs.build import test_build_refusals as tests
from tests.beam_jobs.log_in_memory import TableReader

class Stuck(TableReader):
    def read(self, shard):
        yield from super().read(shard)
        if shard[0] > 0:
            open({marker!r}, 'w').close()
            time.sleep(600)

tests.build_dataset(tests.config(), 'test', {directory!r}, '.', progress=False,
                    reader=Stuck(tests.log()))
"""


def test_build_that_was_killed_is_no_dataset_and_does_not_disturb_the_next(tmp_path):
    marker = str(tmp_path / 'marker')
    script = _KILLED.format(marker=marker, directory=str(tmp_path / 'dataset'))
    process = subprocess.Popen([sys.executable, '-c', script], env=with_tests())
    try:
        for _ in range(600):
            if os.path.exists(marker) or process.poll() is not None:
                break
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert os.path.exists(marker)
    (half,) = list_versions(str(tmp_path / 'dataset'))
    assert any(files for _, _, files in os.walk(tmp_path / 'dataset' / half))
    with pytest.raises(UserError, match='not contain a complete dataset'):
        open_dataset(str(tmp_path / 'dataset'))
    manifest = build(tmp_path, log())
    assert manifest.rows.kept == 60
    assert open_dataset(str(tmp_path / 'dataset')).verify()

"""Periods trained in this process, with the failures that can occur."""

import copy
import dataclasses
import json
import logging
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest

from components.continual.attempt import plan
from components.continual.config import BaseTrainConfig
from components.continual.history import history_table
from components.continual.periods import find_period
from components.continual.versions import read_record, write_record
from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from tests.components.continual.daily_log import Home, settings, write_day
from trainer.export import push
from trainer.export.golden import check_golden


@pytest.fixture(scope='module')
def walked(tmp_path_factory):
    """Two periods, the second after its day was added."""
    root = tmp_path_factory.mktemp('walked')
    for number in (1, 2):
        write_day(root / 'log', number)
    home = Home(settings(root / 'log'), root / 'runs')
    home.walk()
    assert home.find() is None
    write_day(root / 'log', 3)
    home.walk()
    return home


@pytest.fixture(scope='module')
def trained(walked, tmp_path_factory):
    """A third period, of which both models are trained and neither is evaluated."""
    home = copied(walked, tmp_path_factory.mktemp('trained'))
    write_day(log_of(home), 4)
    period = home.find()
    for model in home.context.continual.models:
        home.train(model, period)
    return home


@pytest.fixture
def home(walked, tmp_path):
    """A copy of the two periods, with a log of its own."""
    return copied(walked, tmp_path)


@pytest.fixture
def third(trained, tmp_path):
    """A copy of the third period, with a log of its own."""
    return copied(trained, tmp_path)


@pytest.fixture(scope='module', autouse=True)
def golden_batch_in_this_process():
    """Pushes score the golden batch here: the fresh process is tested with the push itself."""

    def check(model):
        assert check_golden(model) is None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push, '_check_golden', check)
        yield


def copied(home, folder) -> Home:
    """A copy of the workspace and the log in another folder."""
    shutil.copytree(pathlib.Path(home.context.workspace).parent, folder, dirs_exist_ok=True)
    return Home(settings(folder / 'log'), folder / 'runs')


def push_again(home, model: str, last_day: str) -> str:
    """Pushes the newest version again, as if it had been trained up to another day."""
    newest = home.newest(model)
    directory = f'{home.context.models}/shops-{model}/{newest.number + 1}'
    shutil.copytree(newest.directory, directory)
    record = dataclasses.replace(newest.record, first_day=last_day, last_day=last_day)
    write_record(directory, record)
    return directory


def changed(home, **sections):
    """The same workspace with other settings."""
    other = copy.copy(home)
    if 'evaluate' in sections:
        other.evaluate = home.evaluate.replace(**sections['evaluate'])
    if 'continual' in sections:
        other.context = dataclasses.replace(
            home.context,
            continual=home.context.continual.replace(**sections['continual']),
        )
    return other


def served(home) -> dict[str, str | None]:
    return {model: home.context.pushed.served(model) for model in home.context.continual.models}


def holding(path: str, activity: str) -> subprocess.Popen:
    """Another process that holds a lease for some seconds, and is then killed."""
    child = subprocess.Popen(
        [
            sys.executable,
            '-c',
            'from mdctr.leases import lease; import os, sys, time\n'
            'with lease(*sys.argv[1:]):\n    print("held", flush=True)\n'
            '    time.sleep(3)\n    os.kill(os.getpid(), 9)',
            path,
            activity,
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == 'held\n'
    return child


def log_of(home) -> pathlib.Path:
    return pathlib.Path(home.context.workspace).parent / 'log'


def test_each_period_continues_the_models_of_the_one_before(walked):
    assert [
        {model: result.version for model, result in of.items()} for of in walked.results
    ] == [{'source': 1, 'small': 1}, {'source': 2, 'small': 2}]
    pushed = walked.context.models
    records = {
        (model, version): read_record(f'{pushed}/shops-{model}/{version}')
        for model in ('source', 'small')
        for version in (1, 2)
    }
    kinds = {
        key: (record.kind, record.first_day, record.last_day, record.evaluated_on)
        for key, record in records.items()
    }
    one, two = ('2020-01-01',) * 2, ('2020-01-02',) * 2
    assert kinds == {
        ('source', 1): ('source', *one, 'test'),
        ('small', 1): ('base', *one, 'test'),
        ('source', 2): ('source', *two, '2020-01-03'),
        ('small', 2): ('transfer', *two, '2020-01-03'),
    }
    assert records['small', 1].parent is None
    assert records['small', 2].parent['version'] == 1
    assert records['small', 2].source == walked.newest('source').named()
    with open(f'{pushed}/shops-small/2/model.json') as file:
        described = json.load(file)
    assert described['model'] == 'ctnet'
    assert described['trained_splits'] == ['period-1', 'test']


def test_a_model_is_judged_on_its_own_rows_of_the_day_after(walked):
    manifest = walked.context.manifest()
    runs = pathlib.Path(walked.context.workspace) / 'training' / 'shops-small'
    (path,) = runs.glob('2020-01-02-transfer-*/evaluation/metrics.json')
    judged = json.loads(path.read_text())
    assert list(judged['domains']) == ['small']
    assert judged['overall']['impressions'] == (manifest.splits['2020-01-03'].examples['small'])
    assert judged['baseline']['directory'].endswith('models/shops-small/1')
    table = history_table(walked.context)
    assert [line.split()[3:5] for line in table.splitlines()[2:]] == [
        ['shops-source', 'source'],
        ['shops-small', 'base'],
        ['shops-source', 'source'],
        ['shops-small', 'transfer'],
    ]


def test_a_run_leaves_no_checkpoints_and_no_scores(walked):
    training = pathlib.Path(walked.context.workspace) / 'training'
    left = {path.name for path in training.glob('*/*/*') if path.is_dir()}
    assert left == {'export', 'evaluation', 'logs'}
    assert not list(training.glob('*/*/evaluation/*scores'))


def test_without_a_new_day_nothing_is_done(home, caplog):
    before, manifest = served(home), home.context.manifest()
    with caplog.at_level(logging.INFO):
        assert home.find() is None
    assert 'No new day after 2020-01-03' in caplog.text
    assert served(home) == before and home.context.manifest() == manifest


def test_a_refused_model_leaves_the_served_one_and_loses_no_day(third):
    home, before = third, served(third)
    strict = changed(home, evaluate={'min_auc': 0.999})
    result = strict.period()
    assert [of.pushed for of in result.values()] == [False, False]
    assert 'not blessed: overall: AUC' in result['small'].reason
    assert served(home) == before
    assert strict.find() is None  # it is not repeated

    write_day(log_of(home), 5)
    fourth = strict.find()
    assert fourth.number == 4
    attempt = plan(strict.context, strict.context.manifest(), 'source', fourth)
    assert attempt.record.splits == ['2020-01-03', '2020-01-04']
    assert attempt.parent == before['source']

    # With thresholds that it meets, the existing model is evaluated again, not trained.
    training = pathlib.Path(home.context.workspace) / 'training' / 'shops-source'
    trained = [path.stat().st_mtime_ns for path in training.glob('2020-01-03*/export/*.pb')]
    third = home.find()
    assert third.number == 3
    assert home.finish(home.train('source', third)).version == 3
    assert trained == [
        path.stat().st_mtime_ns for path in training.glob('2020-01-03*/export/*.pb')
    ]


def test_a_model_of_a_period_is_reused_and_one_that_is_damaged_is_trained_again(third, caplog):
    period = third.find()
    attempt = plan(third.context, third.context.manifest(), 'source', period)
    graph = pathlib.Path(attempt.export) / 'saved_model.pb'
    written = graph.stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        third.train('source', period)
    assert f'Reusing the model {attempt.export}' in caplog.text
    assert graph.stat().st_mtime_ns == written
    graph.unlink()
    caplog.clear()
    third.train('source', period)
    assert f'The model {attempt.export} is damaged (saved_model.pb is missing)' in caplog.text
    assert read_record(attempt.export) == attempt.record


def test_of_two_runs_at_once_the_slower_one_pushes_nothing(third):
    home = third
    other = changed(
        home,
        continual={
            'source_train': BaseTrainConfig(
                model=home.context.continual.source_train.model, learning_rate=0.1, epochs=1
            )
        },
    )
    period = home.find()
    mine, theirs = home.train('source', period), other.train('source', period)
    assert mine.directory != theirs.directory
    assert other.finish(theirs).version == 3
    result = home.finish(mine)
    assert (result.pushed, result.path) == (False, None)
    assert (
        'version 3 of shops-source was pushed by another run after version 2' in result.reason
    )
    assert home.newest('source').record == theirs.record
    assert os.listdir(f'{home.context.models}/shops-source').count('4') == 0
    # The winner, asked again, has nothing to do.
    assert other.finish(theirs).reason == 'shops-source version 3 is this model already.'


def test_a_run_waits_for_the_training_of_another(third, caplog):
    home, period = third, third.find()
    attempt = plan(home.context, home.context.manifest(), 'source', period)
    child = holding(attempt.directory + '.attempt', 'trains shops-source')
    with caplog.at_level(logging.INFO):
        assert home.train('source', period) == attempt  # a killed run holds no lease
    assert child.wait() == -signal.SIGKILL
    assert re.search('Waiting: process .* trains shops-source; its lease ends at', caplog.text)


def test_a_run_waits_for_another_that_extends_the_dataset(home, caplog):
    child = holding(home.context.dataset + '.periods', 'extends the dataset shops')
    with caplog.at_level(logging.INFO):
        home.find()
    assert child.wait() == -signal.SIGKILL
    assert re.search('Waiting: process .* extends the dataset shops; its lease', caplog.text)


def test_a_day_that_comes_late_or_twice_is_reported_and_changes_nothing(home, caplog):
    log = log_of(home)
    write_day(log, 5)
    period = home.find()  # a later day is there, so the 4th is passed over
    assert (period.last_day, period.evaluated_on.day) == ('2020-01-03', '2020-01-05')
    before = open_dataset(home.context.dataset).manifest
    write_day(log, 4)
    write_day(log, 2, rows=500)
    caplog.clear()
    assert home.find() == period
    assert 'The log of 2020-01-04 is not in the dataset' in caplog.text
    assert 'The log of 2020-01-02 is in the dataset already' in caplog.text
    assert open_dataset(home.context.dataset).manifest == before
    served_before = served(home)
    write_day(log, 6)
    (log / '2020-01-06.csv').write_text((log / '2020-01-05.csv').read_text())  # again the 5th
    pushed = push_again(home, 'source', '2020-01-03')
    push_again(home, 'small', '2020-01-03')
    assert home.find() is None
    assert 'The log of 2020-01-06 has no rows of that day' in caplog.text
    assert open_dataset(home.context.dataset).manifest == before
    assert served(home)['source'] == pushed != served_before['source']


def test_a_day_without_rows_of_a_target_is_trained_on_with_the_next_period(home):
    log = log_of(home)
    write_day(log, 4, shops=('large',))
    period, before = home.find(), served(home)
    sentence = home.train('small', period)
    assert 'small has no rows on 2020-01-04, on which a model up to 2020-01-03' in sentence
    source = plan(home.context, home.context.manifest(), 'source', period)
    assert source.record.splits == ['2020-01-03']  # the source is trained all the same
    push_again(home, 'source', '2020-01-03')
    assert served(home)['small'] == before['small']
    write_day(log, 5)
    period = home.find()
    push_again(home, 'source', '2020-01-04')
    attempt = home.train('small', period)
    assert attempt.record.splits == ['2020-01-03', '2020-01-04']
    assert home.finish(attempt).version == 3


@pytest.fixture(scope='module')
def foreign(tmp_path_factory):
    """A source model of another log, as a mistake could leave it among the served ones."""
    root = tmp_path_factory.mktemp('foreign')
    for number in (1, 2):
        write_day(root / 'log', number, seed=7)
    home = Home(settings(root / 'log'), root / 'runs')
    return home.train('source', home.find()).export


def test_a_source_of_other_vocabularies_stops_the_target_alone(third, foreign):
    home, period, before = third, third.find(), served(third)
    wrong = f'{home.context.models}/shops-source/3'
    shutil.copytree(foreign, wrong)
    path = pathlib.Path(wrong) / 'model.json'
    described = json.loads(path.read_text())
    described['continual']['last_day'] = '2020-01-03'
    path.write_text(json.dumps(described))
    with pytest.raises(UserError, match='shops-source/3') as found:
        home.train('small', period)
    assert '\n' not in str(found.value)
    assert served(home)['small'] == before['small']

    # It is incomplete: the newest complete version is used.
    os.remove(f'{wrong}/saved_model.pb')
    attempt = plan(home.context, home.context.manifest(), 'small', period)
    assert attempt.source == before['source']


def test_other_settings_do_not_rebuild_the_dataset(home):
    manifest = home.context.manifest()
    home.dataset = home.dataset.replace(seed=2)
    with pytest.raises(UserError, match='were built with another dataset.seed: restore'):
        home.find()
    assert home.context.manifest() == manifest
    assert find_period(home.context.dataset, home.context.continual, 2).last_day == '2020-01-02'

"""Periods that are really trained, and what goes wrong on the way, in this process."""

import copy
import dataclasses
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from daily_log import Home, settings, write_day

from beam_jobs.dataset import read_manifest
from beam_jobs.errors import UserError
from components.continual.attempt import plan
from components.continual.history import history_table
from components.continual.periods import find_period
from components.continual.versions import read_record
from trainer.config import TrainConfig


@pytest.fixture(scope='module')
def walked(tmp_path_factory):
    """Two periods, the second when its day came."""
    root = tmp_path_factory.mktemp('walked')
    for number in (1, 2):
        write_day(root / 'log', number)
    home = Home(settings(root / 'log'), root / 'runs')
    home.results = home.walk()
    assert home.find() is None
    write_day(root / 'log', 3)
    home.results += home.walk()
    return home


@pytest.fixture
def home(walked, tmp_path):
    """A copy of it, with a log of its own."""
    root = pathlib.Path(walked.context.workspace).parent
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    return Home(settings(tmp_path / 'log'), tmp_path / 'runs')


def changed(home, **sections):
    """The same workspace with other settings."""
    other = copy.copy(home)
    if 'evaluate' in sections:
        other.evaluate = dataclasses.replace(home.evaluate, **sections['evaluate'])
    if 'continual' in sections:
        other.context = dataclasses.replace(home.context, continual=dataclasses.replace(
            home.context.continual, **sections['continual']))
    return other


def served(home) -> dict[str, str | None]:
    return {model: home.context.pushed.served(model)
            for model in home.context.continual.models}


def holding(path: str) -> subprocess.Popen:
    """Another process that holds a lock until it is killed."""
    child = subprocess.Popen(
        [sys.executable, '-c', 'from components.continual.lock import alone; import sys, time\n'
         'with alone(sys.argv[1], "works"):\n    print("held", flush=True)\n'
         '    time.sleep(600)', path], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == 'held\n'
    return child


def log_of(home) -> pathlib.Path:
    return pathlib.Path(home.context.workspace).parent / 'log'


def test_each_period_continues_the_models_of_the_one_before(walked):
    assert [{model: result.version for model, result in of.items()}
            for of in walked.results] == [{'source': 1, 'small': 1}, {'source': 2, 'small': 2}]
    pushed = walked.context.models
    records = {(model, version): read_record(f'{pushed}/shops-{model}/{version}')
               for model in ('source', 'small') for version in (1, 2)}
    kinds = {key: (record.kind, record.first_day, record.last_day, record.evaluated_on)
             for key, record in records.items()}
    one, two = ('2020-01-01',) * 2, ('2020-01-02',) * 2
    assert kinds == {('source', 1): ('source', *one, 'test'),
                     ('small', 1): ('base', *one, 'test'),
                     ('source', 2): ('source', *two, '2020-01-03'),
                     ('small', 2): ('transfer', *two, '2020-01-03')}
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
    path, = runs.glob('2020-01-02-transfer-*/evaluation/metrics.json')
    judged = json.loads(path.read_text())
    assert list(judged['domains']) == ['small']
    assert judged['overall']['impressions'] == (
        manifest.splits['2020-01-03'].examples['small'])
    assert judged['baseline']['directory'].endswith('models/shops-small/1')
    table = history_table(walked.context)
    assert [line.split()[3:5] for line in table.splitlines()[2:]] == [
        ['shops-source', 'source'], ['shops-small', 'base'], ['shops-source', 'source'],
        ['shops-small', 'transfer']]


def test_a_run_leaves_no_checkpoints_and_no_scores(walked):
    training = pathlib.Path(walked.context.workspace) / 'training'
    left = {path.name for path in training.glob('*/*/*')}
    assert left == {'export', 'evaluation', 'logs'}
    assert not list(training.glob('*/*/evaluation/*scores'))


def test_without_a_new_day_nothing_is_done(home, caplog):
    before, manifest = served(home), home.context.manifest()
    with caplog.at_level(logging.INFO):
        assert home.find() is None
    assert 'There is no new day after 2020-01-03' in caplog.text
    assert served(home) == before and home.context.manifest() == manifest


def test_a_refused_model_leaves_the_served_one_and_loses_no_day(home):
    write_day(log_of(home), 4)
    before = served(home)
    strict = changed(home, evaluate={'min_auc': 0.999})
    result = strict.period()
    assert [of.pushed for of in result.values()] == [False, False]
    assert 'not blessed: overall: AUC' in result['small'].reason
    assert served(home) == before
    assert strict.find() is None  # it is not tried again and again

    write_day(log_of(home), 5)
    fourth = strict.find()
    assert fourth.number == 4
    attempt = plan(strict.context, strict.context.manifest(), 'source', fourth)
    assert attempt.record.splits == ['2020-01-03', '2020-01-04']
    assert attempt.parent == before['source']

    # With thresholds that it meets, the model that is there is judged again, not trained.
    training = pathlib.Path(home.context.workspace) / 'training' / 'shops-source'
    trained = [path.stat().st_mtime_ns for path in training.glob('2020-01-03*/export/*.pb')]
    third = home.find()
    assert third.number == 3
    assert home.finish(home.train('source', third)).version == 3
    assert trained == [path.stat().st_mtime_ns
                       for path in training.glob('2020-01-03*/export/*.pb')]


def test_of_two_runs_at_once_the_slower_one_pushes_nothing(home):
    write_day(log_of(home), 4)
    other = changed(home, continual={'source_train': TrainConfig(
        home.context.continual.source_train.model, learning_rate=0.1, epochs=1)})
    period = home.find()
    mine, theirs = home.train('source', period), other.train('source', period)
    assert mine.directory != theirs.directory
    assert other.finish(theirs).version == 3
    result = home.finish(mine)
    assert (result.pushed, result.path) == (False, None)
    assert 'version 3 of shops-source came after version 2' in result.reason
    assert home.newest('source').record == theirs.record
    assert os.listdir(f'{home.context.models}/shops-source').count('4') == 0
    # The winner, asked again, has nothing to do.
    assert other.finish(theirs).reason == 'shops-source version 3 is this model already.'


def test_a_training_that_another_run_is_at_is_left_to_it(home):
    write_day(log_of(home), 4)
    period = home.find()
    attempt = plan(home.context, home.context.manifest(), 'source', period)
    child = holding(attempt.directory + '.lock')
    try:
        with pytest.raises(UserError, match='Another run trains shops-source for the period '
                           'that ends on 2020-01-03: it is left to that one'):
            home.train('source', period)
    finally:
        child.kill()
        child.wait()
    assert home.train('source', period) == attempt  # a killed run holds nothing


def test_a_dataset_that_another_run_extends_is_left_to_it(home):
    child = holding(home.context.dataset + '.lock')
    try:
        with pytest.raises(UserError, match='Another run extends the dataset'):
            home.find()
    finally:
        child.kill()
        child.wait()


def test_a_day_late_or_twice_is_said_and_changes_nothing(home, caplog):
    log = log_of(home)
    write_day(log, 5)
    period = home.find()  # a later day is there, so the 4th is passed over
    assert (period.last_day, period.evaluated_on.day) == ('2020-01-03', '2020-01-05')
    before = read_manifest(home.context.dataset)
    write_day(log, 4)
    write_day(log, 2, rows=500)
    caplog.clear()
    assert home.find() == period
    assert 'The log of 2020-01-04 came after that of 2020-01-05' in caplog.text
    assert 'The log of 2020-01-02 is in the dataset already' in caplog.text
    assert read_manifest(home.context.dataset) == before
    served_before = served(home)
    write_day(log, 6)
    (log / '2020-01-06.csv').write_text((log / '2020-01-05.csv').read_text())  # again the 5th
    pushed = home.finish(home.train('source', period))
    assert pushed.version == 3
    home.finish(home.train('small', period))
    with pytest.raises(UserError, match='2020-01-06.* has no rows'):
        home.find()
    assert read_manifest(home.context.dataset) == before
    assert served(home)['source'] == pushed.path != served_before['source']


def test_a_day_without_rows_of_a_target(home):
    log = log_of(home)
    write_day(log, 4, shops=('large',))
    period, before = home.find(), served(home)
    sentence = home.train('small', period)
    assert 'small has no rows on 2020-01-04, by which a model up to 2020-01-03' in sentence
    assert home.finish(home.train('source', period)).version == 3
    assert served(home)['small'] == before['small']
    write_day(log, 5)
    period = home.find()
    assert home.finish(home.train('source', period)).version == 4
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


def test_a_source_of_other_vocabularies_stops_the_target_alone(home, foreign):
    write_day(log_of(home), 4)
    period, before = home.find(), served(home)
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

    # Half of it: the newest that is whole is taken.
    os.remove(f'{wrong}/saved_model.pb')
    attempt = plan(home.context, home.context.manifest(), 'small', period)
    assert attempt.source == before['source']


def test_a_dataset_that_was_being_put_in_place_is_found_again(home):
    manifest = home.context.manifest()
    os.rename(home.context.dataset, home.context.dataset + '.old')  # killed just then
    assert home.find() is None
    assert home.context.manifest() == manifest


def test_other_settings_do_not_build_the_dataset_anew(home):
    manifest = home.context.manifest()
    home.dataset = dataclasses.replace(home.dataset, seed=2)
    with pytest.raises(UserError, match='was built with another dataset.seed, and the pushed'):
        home.find()
    assert home.context.manifest() == manifest
    assert find_period(home.context.dataset, home.context.continual, 2).last_day == '2020-01-02'

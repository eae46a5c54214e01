"""Pushing: only blessed, only whole, one version at a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from beam_jobs.errors import UserError
from trainer.golden import write_golden
from trainer.push import latest_version, push

CHILD = """
import shutil, sys, time
from trainer import push
copy = shutil.copytree
def slow(*args, **kwargs):
    copy(*args, **kwargs)
    print('copied', flush=True)
    time.sleep(60)
push.shutil.copytree = slow
push._check_golden = lambda model: None
push.push(*sys.argv[1:])
"""


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """A model that scores 1 / (1 + exp(-(weight * x))), with x the length of a text."""
    from trainer.keras import tf

    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, 'item_id')])
        def serve(self, item_id):
            return {'score': tf.sigmoid(tf.cast(tf.strings.length(item_id), tf.float32) - 2)}

    directory = str(tmp_path_factory.mktemp('exported') / 'export')
    model = Model()
    tf.saved_model.save(model, directory, signatures={'serving_default': model.serve})
    write_golden(directory, {'item_id': np.array(['a', 'bcd'], object)},
                 1 / (1 + np.exp(-np.array([-1.0, 1.0]))))
    return directory


@pytest.fixture
def unchecked(monkeypatch):
    """Without the fresh process, whose start takes longest; for tests of what comes after."""
    monkeypatch.setattr('trainer.push._check_golden', lambda model: None)


@pytest.fixture
def verdict(tmp_path):
    def write(blessed):
        (tmp_path / 'evaluation').mkdir(exist_ok=True)
        (tmp_path / 'evaluation' / 'metrics.json').write_text(json.dumps(
            {'blessed': blessed, 'reasons': ['GAUC fell by 0.1, more than 0.01']}))
        return str(tmp_path / 'evaluation')
    return write


def test_versions_count_up(exported, verdict, tmp_path):
    models = str(tmp_path / 'models')
    assert latest_version(models, 'shops') is None
    first = push(exported, verdict(True), models, 'shops')
    second = push(exported, verdict(True), models, 'shops')
    assert (first.version, second.version) == (1, 2)
    assert sorted(os.listdir(tmp_path / 'models' / 'shops')) == ['1', '2']
    assert latest_version(models, 'shops') == second.path
    for root, _, files in os.walk(exported):
        for file in files:
            copied = os.path.join(second.path, os.path.relpath(root, exported), file)
            with open(copied, 'rb') as one, open(os.path.join(root, file), 'rb') as other:
                assert one.read() == other.read()


def test_not_blessed_is_not_pushed(exported, verdict, tmp_path):
    result = push(exported, verdict(False), str(tmp_path / 'models'), 'shops')
    assert not result.pushed and result.path is None
    assert result.reason == 'Not blessed: GAUC fell by 0.1, more than 0.01.'
    assert not (tmp_path / 'models').exists()


def test_a_model_that_scores_otherwise_is_not_pushed(exported, verdict, tmp_path):
    broken = str(tmp_path / 'broken')
    shutil.copytree(exported, broken)
    write_golden(broken, {'item_id': np.array(['a', 'bcd'], object)}, np.array([0.5, 0.5]))
    with pytest.raises(UserError, match='not pushed: the loaded model scores row'):
        push(broken, verdict(True), str(tmp_path / 'models'), 'shops')
    assert latest_version(str(tmp_path / 'models'), 'shops') is None


def test_no_verdict(exported, tmp_path):
    with pytest.raises(UserError, match='holds no verdict'):
        push(exported, str(tmp_path), str(tmp_path / 'models'), 'shops')


def test_no_model(verdict, tmp_path):
    with pytest.raises(UserError, match='holds no exported model'):
        push(str(tmp_path), verdict(True), str(tmp_path / 'models'), 'shops')


def test_a_destination_that_cannot_be_written(exported, verdict, tmp_path, unchecked):
    (tmp_path / 'models').write_text('a file')
    with pytest.raises(UserError, match=r'cannot be pushed to .*models/shops: Not a directory'):
        push(exported, verdict(True), str(tmp_path / 'models'), 'shops')


def test_killed_in_the_middle_leaves_no_version(exported, verdict, tmp_path, unchecked):
    models = str(tmp_path / 'models')
    child = subprocess.Popen([sys.executable, '-c', CHILD, exported, verdict(True), models,
                              'shops'], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == 'copied\n'
    names = os.listdir(os.path.join(models, 'shops'))
    assert len(names) == 1 and not names[0].isdecimal()  # a running push is left alone
    second = push(exported, verdict(True), models, 'shops')
    assert second.version == 1
    assert set(os.listdir(os.path.join(models, 'shops'))) == {'1', *names}
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert latest_version(models, 'shops') == second.path
    assert push(exported, verdict(True), models, 'shops').version == 2
    assert sorted(os.listdir(os.path.join(models, 'shops'))) == ['1', '2']


def test_versions_without_a_model_are_no_versions(exported, verdict, tmp_path, unchecked):
    models = str(tmp_path / 'models')
    push(exported, verdict(True), models, 'shops')
    (tmp_path / 'models' / 'shops' / '7').mkdir()
    (tmp_path / 'models' / 'shops' / 'notes').mkdir()
    assert latest_version(models, 'shops').endswith('/1')
    assert push(exported, verdict(True), models, 'shops').version == 8


def test_two_pushes_at_once_get_two_versions(exported, verdict, tmp_path):
    models, evaluation = str(tmp_path / 'models'), verdict(True)
    code = ('import sys; from trainer import push; push._check_golden = lambda model: None\n'
            'for _ in range(5): push.push(*sys.argv[1:])')
    children = [subprocess.Popen([sys.executable, '-c', code, exported, evaluation, models,
                                  'shops']) for _ in range(2)]
    deadline = time.monotonic() + 60
    assert [child.wait(deadline - time.monotonic()) for child in children] == [0, 0]
    versions = sorted(int(entry) for entry in os.listdir(os.path.join(models, 'shops')))
    assert versions == list(range(1, 11))

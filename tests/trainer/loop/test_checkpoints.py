"""Checkpoints that are damaged, and those of runs on an object store."""

import glob
import logging
import os
import tempfile

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mdctr import storage
from mdctr.errors import UserError
from mdctr.exported_model import check_files
from tests.full_disk import small_files
from trainer.config import ModelConfig, TrainConfig
from trainer.export.golden import read_golden
from trainer.loop.checkpoints import Checkpoints
from trainer.train import train

CONFIG = TrainConfig(
    model=ModelConfig(name='mlp', embedding_dim=4, hidden_units=[4]),
    batch_size=64,
    epochs=2,
    learning_rate=0.01,
    checkpoint_steps=10,
)


class Killed(BaseException):
    """Ends a run as a signal would: nothing is cleaned up."""


def train_until(checkpoint, monkeypatch, dataset, run):
    """Trains until a checkpoint has been saved; returns the step of each that was saved."""
    save, steps = Checkpoints.save, []

    def save_or_die(self, state):
        save(self, state)
        steps.append(state.step)
        if len(steps) == checkpoint:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, 'save', save_or_die)
        with pytest.raises(Killed):
            train(dataset, run, CONFIG)
    return steps


@pytest.fixture(scope='module')
def expected(dataset, tmp_path_factory):
    """The scores of the golden batch of a run that is not interrupted."""
    run = str(tmp_path_factory.mktemp('whole') / 'run')
    return read_golden(train(dataset, run, CONFIG))[1]


def scores_of(export):
    with storage.local_directory(export) as local:
        return read_golden(local)[1]


def truncate(path):
    os.truncate(path, os.path.getsize(path) // 2)


def empty(path):
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ('suffix', 'damage'),
    [
        ('data-00000-of-00001', truncate),
        ('data-00000-of-00001', empty),
        pytest.param('data-00000-of-00001', os.remove, marks=pytest.mark.slow),
        pytest.param('index', truncate, marks=pytest.mark.slow),
        ('index', empty),
    ],
)
def test_the_checkpoint_before_a_damaged_one_is_resumed_from(
    dataset, expected, tmp_path, monkeypatch, caplog, suffix, damage
):
    run = str(tmp_path / 'run')
    *_, before, last = train_until(4, monkeypatch, dataset, run)
    damage(os.path.join(run, 'checkpoints', f'ckpt-{last}.{suffix}'))
    with caplog.at_level(logging.INFO):
        export = train(dataset, run, CONFIG)
    assert f'checkpoints/ckpt-{last} is damaged and is not used' in caplog.text
    assert f'step {before}.' in caplog.text
    np.testing.assert_allclose(scores_of(export), expected, atol=1e-5)


def test_without_an_undamaged_checkpoint_training_starts_again(
    dataset, expected, tmp_path, monkeypatch, caplog
):
    run = str(tmp_path / 'run')
    train_until(2, monkeypatch, dataset, run)
    for path in glob.glob(os.path.join(run, 'checkpoints', 'ckpt-*.index')):
        empty(path)
    export = train(dataset, run, CONFIG)
    np.testing.assert_allclose(scores_of(export), expected, atol=1e-5)
    assert caplog.text.count('is damaged and is not used') == 2


def test_the_weights_of_the_best_epoch_of_every_kept_checkpoint_are_kept(
    dataset, tmp_path, monkeypatch
):
    run = str(tmp_path / 'run')
    train_until(4, monkeypatch, dataset, run)
    names = os.listdir(os.path.join(run, 'checkpoints'))
    assert len([name for name in names if name.endswith('.index')]) >= 3
    assert 'best-0.index' in names


def test_damaged_weights_of_the_best_epoch_are_one_sentence(dataset, tmp_path, monkeypatch):
    run = str(tmp_path / 'run')
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, 'restore_best', lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train(dataset, run, CONFIG)
    for path in glob.glob(os.path.join(run, 'checkpoints', 'best-*.data*')):
        truncate(path)
    with pytest.raises(UserError, match='weights of the best epoch, .*best-.* cannot be read'):
        train(dataset, run, CONFIG)


def test_a_full_disk_is_one_sentence(dataset, tmp_path):
    expected = 'cannot be read or written: File too large'
    with small_files(4096), pytest.raises(UserError, match=expected):
        train(dataset, str(tmp_path / 'run'), CONFIG)


def test_a_finished_run_that_was_removed_in_part_is_no_run(dataset, tmp_path, monkeypatch):
    run = str(tmp_path / 'run')
    train(dataset, run, CONFIG)

    def remove_in_part(directory):
        storage.remove(storage.join(directory, 'finished'))
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(storage, 'remove_directory', remove_in_part)
        with pytest.raises(Killed):
            train(dataset, run, CONFIG)
    assert glob.glob(os.path.join(run, 'checkpoints', 'ckpt-*.index'))
    other = train(dataset, str(tmp_path / 'other'), CONFIG.replace(seed=2))
    again = train(dataset, run, CONFIG.replace(seed=2))
    np.testing.assert_array_equal(scores_of(again), scores_of(other))


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Makes an empty scratch directory, as another machine has."""

    def change(name):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / name))
        return tmp_path / name

    return change


def test_a_run_on_an_object_store_resumes_with_an_empty_scratch_directory(
    dataset, expected, bucket, monkeypatch, caplog, scratch
):
    run = storage.join(bucket, 'training', 'run')
    scratch('one machine')
    *_, last = train_until(4, monkeypatch, dataset, run)
    scratch('another machine')
    with caplog.at_level(logging.INFO):
        export = train(dataset, run, CONFIG)
    assert f'step {last}.' in caplog.text
    np.testing.assert_allclose(scores_of(export), expected, atol=1e-5)


def test_a_run_on_an_object_store_leaves_a_model_events_and_no_scratch(
    dataset, bucket, scratch, tmp_path
):
    run = storage.join(bucket, 'training', 'run')
    local = scratch('scratch')
    export = train(dataset, run, CONFIG)
    check_files(export)
    assert not list(local.iterdir())
    storage.download(storage.join(run, 'logs'), str(tmp_path / 'logs'))
    events = EventAccumulator(str(tmp_path / 'logs'), size_guidance={'tensors': 0})
    events.Reload()
    assert [event.step for event in events.Tensors('validation_auc/overall')] == [1, 2]


def test_a_damaged_checkpoint_on_an_object_store_falls_back(
    dataset, expected, bucket, monkeypatch, caplog
):
    run = storage.join(bucket, 'run')
    *_, last = train_until(4, monkeypatch, dataset, run)
    name = storage.join(run, 'checkpoints', f'ckpt-{last}.data-00000-of-00001')
    storage.write_bytes(name, storage.read_bytes(name)[:100])
    export = train(dataset, run, CONFIG)
    assert f'{storage.join(run, "checkpoints", f"ckpt-{last}")} is damaged' in caplog.text
    np.testing.assert_allclose(scores_of(export), expected, atol=1e-5)

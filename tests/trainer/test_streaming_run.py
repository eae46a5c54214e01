"""Training runs that stream: one pass, and each row once whatever happens in between."""

import collections
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_examples import row_keys, written_keys
from test_stream import write_days

from beam_jobs.errors import UserError
from beam_jobs.options import from_mapping
from trainer.config import ModelConfig, TrainConfig
from trainer.golden import read_golden
from trainer.step import TrainStep
from trainer.train import train

DAYS = [{1: 260, 2: 90, 3: 30}, {1: 180, 2: 120}, {1: 120, 2: 40, 3: 10}]
TRAIN, VALIDATION = ['day-1', 'day-2'], 'day-3'
CONFIG = TrainConfig(
    model=ModelConfig(name='star', embedding_dim=4, hidden_units=[8], dropout=0.2),
    batch_size=32, stream_rows=150, epochs=7, learning_rate=0.01, checkpoint_steps=4)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp('data')
    written = write_days(directory, DAYS)
    keys = [key for day in TRAIN for key in written_keys(written[day])]
    return str(directory), collections.Counter(keys)


class Killed(Exception):
    """What stops a run before a step."""


@pytest.fixture
def recorded(monkeypatch):
    """The rows of each step that is trained; `at['kill']` steps in, the run is stopped."""
    steps, at, call = [], {'kill': None}, TrainStep.__call__

    def recording(self, batch):
        if len(steps) == at['kill']:
            raise Killed
        steps.append(row_keys([{name: value.numpy() for name, value in batch.items()}]))
        return call(self, batch)
    monkeypatch.setattr(TrainStep, '__call__', recording)
    return steps, at


@pytest.fixture(scope='module')
def finished(dataset, tmp_path_factory):
    return train(dataset[0], str(tmp_path_factory.mktemp('run')), CONFIG, TRAIN, VALIDATION)


def position(directory) -> int:
    """The steps of the last checkpoint."""
    names = os.listdir(directory / 'checkpoints')
    return max([int(n.split('-')[1].split('.')[0]) for n in names
                if n.startswith('ckpt-') and n.endswith('.index')], default=0)


@pytest.mark.parametrize('kind', ['domain', 'mixed'])
def test_a_run_is_one_pass_over_every_row(dataset, recorded, tmp_path, kind):
    config = dataclasses.replace(CONFIG, batches=kind)
    train(dataset[0], str(tmp_path), config, TRAIN, VALIDATION)
    trained = [key for step in recorded[0] for key in step]
    assert collections.Counter(trained) == dataset[1]  # although `epochs` is 7


@pytest.mark.parametrize(('kind', 'kill_at'), [  # before, at and between checkpoints
    ('domain', 2), ('mixed', 4), ('domain', 11), ('mixed', 11)])
def test_a_restart_neither_repeats_nor_loses_a_row(dataset, recorded, tmp_path, kind, kill_at):
    config = dataclasses.replace(CONFIG, batches=kind)
    steps, at = recorded
    at['kill'] = kill_at
    with pytest.raises(Killed):
        train(dataset[0], str(tmp_path), config, TRAIN, VALIDATION)
    kept = position(tmp_path)
    assert kept == kill_at // 4 * 4 and len(steps) == kill_at
    model_has_seen = steps[:kept]
    steps.clear()
    at['kill'] = 5 if kill_at == 11 else None  # killed again
    if at['kill']:
        with pytest.raises(Killed):
            train(dataset[0], str(tmp_path), config, TRAIN, VALIDATION)
        model_has_seen += steps[:position(tmp_path) - kept]
        steps.clear()
        at['kill'] = None
    train(dataset[0], str(tmp_path), config, TRAIN, VALIDATION)
    model_has_seen += steps
    assert collections.Counter(key for step in model_has_seen for key in step) == dataset[1]


def test_a_killed_process_continues_to_the_same_model(dataset, finished, tmp_path):
    code = ('import json, sys; from beam_jobs.options import from_mapping; '
            'from trainer.config import TrainConfig; from trainer.train import train; '
            'config = from_mapping(TrainConfig, json.loads(sys.argv[3]), "arguments"); '
            f'train(sys.argv[1], sys.argv[2], config, {TRAIN!r}, {VALIDATION!r})')
    child = subprocess.Popen([sys.executable, '-c', code, dataset[0], str(tmp_path),
                              json.dumps(dataclasses.asdict(CONFIG))],
                             stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not (tmp_path / 'checkpoints/ckpt-8.index').exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    exported = train(dataset[0], str(tmp_path), CONFIG, TRAIN, VALIDATION)
    np.testing.assert_allclose(read_golden(exported)[1], read_golden(finished)[1], atol=1e-5)


def test_what_does_not_go_with_streaming(dataset, tmp_path):
    with pytest.raises(UserError, match=r'stream_rows \(10\) must be 0, or hold a batch of 32'):
        from_mapping(TrainConfig, {'batch_size': 32, 'stream_rows': 10}, 'train')
    config = dataclasses.replace(CONFIG, framework='alternate')
    with pytest.raises(UserError, match='stream_rows goes with the framework joint, and .* is '
                                        'alternate'):
        train(dataset[0], str(tmp_path), config, TRAIN, VALIDATION)

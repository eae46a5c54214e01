"""Training runs that stream: one pass, and each row once whatever happens in between."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mdctr.errors import UserError
from mdctr.settings import parse, to_mapping
from tests.trainer.data.test_examples import row_keys, written_keys
from tests.trainer.data.test_stream import write_days
from trainer.config import ModelConfig, TrainConfig
from trainer.export.golden import read_golden
from trainer.loop.step import TrainStep
from trainer.train import train

DAYS = [{1: 260, 2: 90, 3: 30}, {1: 180, 2: 120}, {1: 120, 2: 40, 3: 10}]
TRAIN, VALIDATION = ['day-1', 'day-2'], 'day-3'
CONFIG = TrainConfig(
    model=ModelConfig(name='star', embedding_dim=4, hidden_units=[8], dropout=0.2),
    batch_size=32,
    streaming_buffer_size=150,
    epochs=7,
    learning_rate=0.01,
    checkpoint_steps=4,
)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp('data')
    written = write_days(directory, DAYS)
    keys = [key for day in TRAIN for key in written_keys(written[day])]
    return str(directory), collections.Counter(keys)


class Killed(Exception):
    """What stops a run before a step."""


@contextlib.contextmanager
def recording():
    """The rows of each step that is trained; `at['kill']` steps in, the run is stopped."""
    steps, at, call = [], {'kill': None}, TrainStep.__call__

    def record(self, batch):
        if len(steps) == at['kill']:
            raise Killed
        steps.append(row_keys([{name: value.numpy() for name, value in batch.items()}]))
        return call(self, batch)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(TrainStep, '__call__', record)
        yield steps, at


@pytest.fixture
def recorded():
    with recording() as steps_and_kill:
        yield steps_and_kill


@pytest.fixture(scope='module')
def finished(dataset, tmp_path_factory):
    """Export and rows of the steps of an uninterrupted run with batches of one domain."""
    with recording() as (steps, _):
        run = str(tmp_path_factory.mktemp('run'))
        return train(dataset[0], run, CONFIG, TRAIN, VALIDATION), steps


def position(directory) -> int:
    """The steps of the last checkpoint."""
    names = os.listdir(directory / 'checkpoints')
    return max(
        [
            int(n.split('-')[1].split('.')[0])
            for n in names
            if n.startswith('ckpt-') and n.endswith('.index')
        ],
        default=0,
    )


def test_a_run_is_one_pass_over_every_row(dataset, finished):
    trained = [key for step in finished[1] for key in step]
    assert collections.Counter(trained) == dataset[1]  # although `epochs` is 7


def test_a_run_with_mixed_batches_is_one_pass_over_every_row(dataset, recorded, tmp_path):
    train(dataset[0], str(tmp_path), CONFIG.replace(batching='mixed'), TRAIN, VALIDATION)
    trained = [key for step in recorded[0] for key in step]
    assert collections.Counter(trained) == dataset[1]


@pytest.mark.parametrize(
    ('kind', 'kills'),
    [  # steps of each attempt: the run is killed before, at and between checkpoints
        ('domain', [2, 11]),
        ('mixed', [4, 7]),
    ],
)
def test_a_restart_neither_repeats_nor_loses_a_row(dataset, recorded, tmp_path, kind, kills):
    config = CONFIG.replace(batching=kind)
    steps, at = recorded
    model_has_seen = []
    for kill_at in kills:
        at['kill'] = kill_at
        with pytest.raises(Killed):
            train(dataset[0], str(tmp_path), config, TRAIN, VALIDATION)
        before = len(model_has_seen)
        assert position(tmp_path) == (before + kill_at) // 4 * 4 and len(steps) == kill_at
        model_has_seen += steps[: position(tmp_path) - before]
        steps.clear()
    at['kill'] = None
    train(dataset[0], str(tmp_path), config, TRAIN, VALIDATION)
    model_has_seen += steps
    assert collections.Counter(key for step in model_has_seen for key in step) == dataset[1]


def test_a_killed_process_continues_to_the_same_model(dataset, finished, tmp_path):
    code = (
        'import json, sys; from mdctr.settings import parse; '
        'from trainer.config import TrainConfig; from trainer.train import train; '
        'config = parse(TrainConfig, json.loads(sys.argv[3]), "arguments"); '
        f'train(sys.argv[1], sys.argv[2], config, {TRAIN!r}, {VALIDATION!r})'
    )
    child = subprocess.Popen(
        [
            sys.executable,
            '-c',
            code,
            dataset[0],
            str(tmp_path),
            json.dumps(to_mapping(CONFIG)),
        ],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while not (tmp_path / 'checkpoints/ckpt-8.index').exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    exported = train(dataset[0], str(tmp_path), CONFIG, TRAIN, VALIDATION)
    np.testing.assert_allclose(read_golden(exported)[1], read_golden(finished[0])[1], atol=1e-5)


def test_what_does_not_go_with_streaming(dataset, tmp_path):
    with pytest.raises(UserError, match=r'size \(10\) must be 0 or at least one batch \(32'):
        parse(TrainConfig, {'batch_size': 32, 'streaming_buffer_size': 10}, 'train')
    config = CONFIG.replace(framework='alternate')
    with pytest.raises(
        UserError, match='buffer_size is supported by the framework joint only .* is alternate'
    ):
        train(dataset[0], str(tmp_path), config, TRAIN, VALIDATION)

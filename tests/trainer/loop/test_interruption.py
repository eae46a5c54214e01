"""SIGTERM during training: the state is saved, and the next run ends as if uninterrupted."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mdctr.settings import to_mapping
from tests.parameters import slow_except
from trainer.config import ModelConfig, TrainConfig
from trainer.export.weights import WEIGHTS
from trainer.keras import tf
from trainer.loop.interruption import TrainingInterrupted, stop_on_sigterm
from trainer.train import train

# The run; {before} is inserted ahead of it.
_CODE = """
import json, logging, os, signal, sys
import trainer.train
from mdctr.settings import parse
from trainer.config import TrainConfig
logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout)

def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)

{before}
config = parse(TrainConfig, json.loads(sys.argv[3]), 'arguments')
trainer.train.train(sys.argv[1], sys.argv[2], config)
"""
_IN_VALIDATION = """
from trainer.frameworks.joint import Joint
from trainer.loop import training_loop
validate, predict = training_loop.validate, Joint.predict
epochs = []

def validate_and_count(framework, *arguments, **options):
    epochs.append(framework)
    return validate(framework, *arguments, **options)

def predict_and_stop(self, batch):
    if len(epochs) == 2:
        sigterm()
    return predict(self, batch)
training_loop.validate, Joint.predict = validate_and_count, predict_and_stop
"""
_IN_EXPORT = """
def export(*arguments):
    sigterm()
trainer.train.export_model = export
"""
_WHILE_READING = """
make = trainer.train.build_or_warm_start

def make_and_stop(*arguments):
    sigterm()
    return make(*arguments)
trainer.train.build_or_warm_start = make_and_stop
"""
_AT_THE_LAST_STEP = """
from trainer.frameworks.joint import Joint
epoch = Joint.epoch

def epoch_and_stop(self, number, start=0):
    for point in epoch(self, number, start):
        if number == 1 and point.position == self.examples.num_batches(16):
            sigterm()
        yield point
Joint.epoch = epoch_and_stop
"""

MODEL = ModelConfig(
    name='star', embedding_dim=4, hidden_units=[8, 4], dropout=0.2, id_dropout=0.1
)
CONFIG = TrainConfig(
    model=MODEL,
    batch_size=16,
    epochs=4,
    learning_rate=0.01,
    checkpoint_steps=100_000,
    patience=9,
    average_weights=True,
    lr_schedule='cosine',
)


class _Run:
    """A training run in a process of its own."""

    def __init__(self, dataset, directory, config, before=''):
        self.output = directory.parent / f'{directory.name}-{time.monotonic_ns()}.txt'
        with open(self.output, 'w', encoding='utf-8') as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    '-W',
                    'ignore',
                    '-c',
                    _CODE.format(before=before),
                    dataset,
                    str(directory),
                    json.dumps(to_mapping(config)),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, text):
        deadline = time.monotonic() + 240
        while text not in self.output.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, (
                self.output.read_text()[-3000:]
            )
            time.sleep(0.005)

    def wait(self):
        """The exit status and what was printed."""
        return self.process.wait(240), self.output.read_text()


def weights(exported):
    reader = tf.train.load_checkpoint(os.path.join(exported, WEIGHTS))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if 'OBJECT_GRAPH' not in name
    }


def assert_same_end(exported, other):
    one, two = weights(exported), weights(other)
    assert set(one) == set(two)
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name], err_msg=name)
    described = []
    for each in (exported, other):
        with open(os.path.join(each, 'model.json'), encoding='utf-8') as file:
            described.append(json.load(file))
    assert described[0]['epoch'] == described[1]['epoch']
    assert described[0]['validation'] == described[1]['validation']


@pytest.fixture(scope='module')
def uninterrupted(dataset, tmp_path_factory):
    return train(dataset, str(tmp_path_factory.mktemp('run') / 'star'), CONFIG)


@pytest.mark.parametrize('framework', slow_except(['joint', 'mamdr'], {'joint'}))
def test_sigterm_saves_the_step_and_the_next_run_resumes_there(dataset, tmp_path, framework):
    config = CONFIG.replace(framework=framework, epochs=3)
    directory = tmp_path / 'run'
    run = _Run(dataset, directory, config)
    run.wait_for('epoch 1: validation')
    run.process.send_signal(signal.SIGTERM)
    status, output = run.wait()
    assert status == 143
    last = output.strip().splitlines()[-1]
    assert 'Training stopped on SIGTERM' in last and 'resume' in last
    assert 'Traceback' not in output and not (directory / 'export').exists()
    exported = train(dataset, str(directory), config)
    assert_same_end(exported, train(dataset, str(tmp_path / 'whole'), config))


@pytest.mark.parametrize(
    ('before', 'where'),
    [
        pytest.param(_AT_THE_LAST_STEP, 'at epoch 2', marks=pytest.mark.slow),
        pytest.param(_IN_VALIDATION, 'at epoch 2', marks=pytest.mark.slow),
        (_IN_EXPORT, ''),
        pytest.param(_WHILE_READING, '', marks=pytest.mark.slow),
    ],
    ids=['last step', 'validation', 'export', 'start'],
)
def test_sigterm_at_any_point_of_a_run(dataset, uninterrupted, tmp_path, before, where):
    directory = tmp_path / 'run'
    status, output = _Run(dataset, directory, CONFIG, before).wait()
    assert status == 143, output[-3000:]
    assert f'Training stopped on SIGTERM{where and " "}{where}' in output
    assert output.count('stopped on SIGTERM') == 1 and 'Traceback' not in output
    if where:  # nothing of the first two epochs is trained again
        status, output = _Run(dataset, directory, CONFIG).wait()
        assert status == 0
        assert 'Continuing at epoch 2' in output and 'epoch 1:' not in output
        assert 'epoch 2, step' not in output.replace('at epoch 2, step', '')
        assert 'epoch 2: validation' in output
        exported = str(directory / 'export')
    else:
        exported = train(dataset, str(directory), CONFIG)
    assert_same_end(exported, uninterrupted)


def test_sigterm_is_handled_only_while_training():
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(TrainingInterrupted, match='stopped on SIGTERM') as stopped,
        stop_on_sigterm(),
    ):
        assert signal.getsignal(signal.SIGTERM) is not before
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_sigterm_does_not_interrupt_the_saving():
    saved = False
    with pytest.raises(TrainingInterrupted), stop_on_sigterm() as stop, stop.deferred():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        assert stop.requested
        saved = True
    assert saved


def test_training_in_a_thread_leaves_signals_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with stop_on_sigterm() as stop:
            seen.append((signal.getsignal(signal.SIGTERM), stop.requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]

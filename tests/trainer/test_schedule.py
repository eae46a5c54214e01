"""The learning rate's course, against its equations, and over a run that is cut."""

import json
import math
import pathlib

import numpy as np
import pytest
from trainer_dataset import write_dataset

from trainer.checkpoints import Checkpoints
from trainer.config import ModelConfig, TrainConfig
from trainer.examples import Examples
from trainer.frameworks import make_framework
from trainer.keras import keras, tf
from trainer.models import build_model
from trainer.schedule import Schedule
from trainer.train import train
from trainer.validation import stopping_value


def rate_at(done: float, kind: str, warmup: float) -> float:
    variable = tf.Variable(done)
    return float(Schedule(kind, 0.2, warmup, variable)(0))


@pytest.mark.parametrize('done', [0.0, 0.1, 0.25, 0.6, 1.0])
def test_rates(done):
    part = (done - 0.25) / 0.75
    expected = {'linear': 0.2 * (1 - part),
                'cosine': 0.1 * (1 + math.cos(math.pi * part)), 'constant': 0.2}
    for kind, rate in expected.items():
        if done < 0.25:
            rate = 0.2 * done / 0.25
        assert rate_at(done, kind, 0.25) == pytest.approx(rate, abs=1e-7)
    assert rate_at(done, 'linear', 0.0) == pytest.approx(0.2 * (1 - done), abs=1e-7)


@pytest.mark.parametrize('optimizer', ['sgd', 'keras_sgd'])
def test_a_step_is_as_long_as_the_rate_says(tmp_path, optimizer):
    write_dataset(tmp_path / 'd', {'train': {1: 30}, 'validation': {1: 9}})
    examples = Examples(str(tmp_path / 'd'), 'train')
    config = TrainConfig(model=ModelConfig('mlp', hidden_units=[4], normalization='none'),
                         optimizer=optimizer, learning_rate=0.5, schedule='linear')
    framework = make_framework(config, build_model(examples.manifest, config.model), examples)
    variable = framework.step.variables[-1]
    for done, length in ((0.0, 0.5), (0.5, 0.25), (1.0, 0.0)):
        framework.done.assign(done)
        before = variable.numpy()
        framework.optimizer.apply_gradients([
            (tf.ones_like(each) if each is variable else tf.zeros_like(each), each)
            for each in framework.step.variables])
        np.testing.assert_allclose(before - variable.numpy(), length, atol=1e-6)
        assert framework.learning_rate() == pytest.approx(length, abs=1e-7)


class _Cut(Exception):
    pass


@pytest.mark.parametrize('framework', ['joint', 'mamdr'])
def test_a_run_that_continues_has_the_rates_of_one_that_was_not_cut(tmp_path, monkeypatch,
                                                                    framework):
    dataset = str(tmp_path / 'd')
    write_dataset(tmp_path / 'd', {'train': {1: 60, 2: 30}, 'validation': {1: 20, 2: 9}})
    config = TrainConfig(model=ModelConfig('mlp', hidden_units=[4]), framework=framework,
                         batch_size=10, epochs=2, patience=9, learning_rate=0.05,
                         schedule='cosine', warmup=0.2, checkpoint_steps=2)
    whole = train(dataset, str(tmp_path / 'whole'), config)
    save, calls = Checkpoints.save, []

    def save_and_die(self, state):
        save(self, state)
        calls.append(state.step)
        if len(calls) == 2:
            raise _Cut

    monkeypatch.setattr(Checkpoints, 'save', save_and_die)
    with pytest.raises(_Cut):
        train(dataset, str(tmp_path / 'cut'), config)
    monkeypatch.undo()
    keras.backend.clear_session()
    again = train(dataset, str(tmp_path / 'cut'), config)
    one, other = (json.loads((pathlib.Path(path) / 'golden.json').read_text())
                  for path in (whole, again))
    assert one == other and len(one['scores']) > 3


def test_what_stops_a_training():
    overall = {'gauc': 0.6, 'auc': 0.7, 'log_loss': 0.5}
    assert stopping_value({'overall': overall}) == ('gauc', 0.6)
    assert stopping_value({'overall': overall}, 'auc') == ('auc', 0.7)
    assert stopping_value({'overall': overall}, 'log_loss') == ('log_loss', -0.5)
    assert stopping_value({'overall': {**overall, 'gauc': None}}) == ('auc', 0.7)
    nothing = {'gauc': None, 'auc': None, 'log_loss': 0.5}
    assert stopping_value({'overall': nothing}, 'auc') == ('log_loss', -0.5)

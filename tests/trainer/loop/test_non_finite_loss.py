"""A loss that is not finite ends the run at once; no checkpoint has weights that are not."""

import os

import numpy as np
import pytest

from mdctr.errors import UserError
from tests.parameters import EVERY_FRAMEWORK
from trainer.config import ModelConfig, TrainConfig
from trainer.keras import tf
from trainer.loop.step import TrainStep
from trainer.train import train

MODEL = ModelConfig(name='mlp', embedding_dim=4, hidden_units=[8], normalization='none')
CONFIG = TrainConfig(
    model=MODEL, batch_size=64, batching='domain', epochs=3, checkpoint_steps=4
)


def spoil(monkeypatch, after, values=np.nan):
    """Makes every weight `values` after so many steps; returns the list of steps."""
    steps = []
    run = TrainStep.run

    def step(self, batch):
        steps.append(int(batch['domain']))
        if len(steps) == after:
            for variable in self.model.trainable_variables:
                variable.assign(tf.fill(variable.shape, values))
        return run(self, batch)

    monkeypatch.setattr(TrainStep, 'run', step)
    return steps


def checkpoint_weights(run):
    """All floating-point values of the last checkpoint."""
    numbers = [
        int(name.removeprefix('ckpt-').removesuffix('.index'))
        for name in os.listdir(os.path.join(run, 'checkpoints'))
        if name.startswith('ckpt-') and name.endswith('.index')
    ]
    path = os.path.join(run, 'checkpoints', f'ckpt-{max(numbers)}')
    reader = tf.train.load_checkpoint(path)
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    return {name: v for name, v in values.items() if getattr(v, 'dtype', None) == np.float32}


def test_the_sentence_names_step_domain_rate_and_the_last_checkpoint(
    dataset, tmp_path, monkeypatch
):
    steps = spoil(monkeypatch, after=7)
    run = str(tmp_path / 'run')
    with pytest.raises(UserError) as error:
        train(dataset, run, CONFIG.replace(learning_rate=0.02))
    assert len(steps) == 7  # at once, where no GPU has to be waited for
    sentence = str(error.value)
    assert sentence.startswith('The loss is nan at step 7 ')
    assert f'domain d{steps[-1]}' in sentence and 'learning rate 0.02' in sentence
    path = os.path.join(run, 'checkpoints')
    assert f'the last good checkpoint is {path}' in sentence and '-4' in sentence


def test_without_a_checkpoint_the_sentence_says_so(dataset, tmp_path, monkeypatch):
    spoil(monkeypatch, after=2, values=np.inf)
    with pytest.raises(UserError, match='at step 2 .* there is no checkpoint yet'):
        train(dataset, str(tmp_path / 'run'), CONFIG)


def test_a_second_run_resumes_from_the_last_good_weights(dataset, tmp_path, monkeypatch):
    run = str(tmp_path / 'run')
    with monkeypatch.context() as patch:
        spoil(patch, after=7)
        with pytest.raises(UserError, match='The loss is nan'):
            train(dataset, run, CONFIG)
    for name, values in checkpoint_weights(run).items():
        assert np.isfinite(values).all(), name
    resumed = train(dataset, run, CONFIG)
    alone = train(dataset, str(tmp_path / 'other'), CONFIG)
    weights = [
        tf.train.load_checkpoint(os.path.join(export, 'weights', 'weights'))
        for export in (resumed, alone)
    ]
    for name in weights[1].get_variable_to_shape_map():
        mine, expected = (each.get_tensor(name) for each in weights)
        if getattr(expected, 'dtype', None) == np.float32:
            np.testing.assert_array_equal(mine, expected, err_msg=name)


def test_weights_that_an_update_made_infinite_are_not_saved(dataset, tmp_path):
    """The first step has a finite loss, and its checkpoint would have infinite weights."""
    run = str(tmp_path / 'run')
    config = CONFIG.replace(optimizer='sgd', learning_rate=1e39, checkpoint_steps=1)
    with pytest.raises(UserError, match='The weights are not finite after step 1 .*domain d'):
        train(dataset, run, config)
    assert os.listdir(os.path.join(run, 'checkpoints')) == ['run.json']


@pytest.mark.parametrize('framework', EVERY_FRAMEWORK)
def test_every_framework_stops(framework, dataset, tmp_path, monkeypatch):
    steps = spoil(monkeypatch, after=9)
    with pytest.raises(UserError, match='The loss is nan at step'):
        train(dataset, str(tmp_path / 'run'), CONFIG.replace(framework=framework))
    assert len(steps) <= 9 + 8  # a step of MAML or PCGrad has batches of several domains


def test_a_later_stage_stops_too(dataset, tmp_path, monkeypatch):
    """MAMDR's domain regularization comes after the epoch's shared steps."""
    steps = spoil(monkeypatch, after=22)
    config = CONFIG.replace(framework='mamdr', epochs=1)
    with pytest.raises(UserError, match='The loss is nan at step'):
        train(dataset, str(tmp_path / 'run'), config)
    assert len(steps) == 22

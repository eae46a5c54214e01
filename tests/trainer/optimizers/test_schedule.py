"""The learning rate's course, against its equations, and over a run that is cut."""

import json
import math
import pathlib

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from tests.parameters import EVERY_FRAMEWORK
from tests.trainer.trainer_dataset import write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.frameworks import make_framework
from trainer.frameworks.core.domain_specific import DomainSpecificParameters
from trainer.keras import keras, tf
from trainer.loop.checkpoints import Checkpoints
from trainer.loop.step import TrainStep
from trainer.loop.validation import stopping_value
from trainer.models import build_model
from trainer.optimizers.schedule import ProgressSchedule
from trainer.train import train


def rate_at(done: float, kind: str, warmup: float) -> float:
    variable = tf.Variable(done)
    return float(ProgressSchedule(kind, 0.2, warmup, variable)(0))


@pytest.mark.parametrize('done', [0.0, 0.1, 0.25, 0.6, 1.0])
def test_rates_follow_warm_up_and_schedule(done):
    part = (done - 0.25) / 0.75
    expected = {
        'linear': 0.2 * (1 - part),
        'cosine': 0.1 * (1 + math.cos(math.pi * part)),
        'constant': 0.2,
    }
    for kind, rate in expected.items():
        if done < 0.25:
            rate = 0.2 * done / 0.25
        assert rate_at(done, kind, 0.25) == pytest.approx(rate, abs=1e-7)
    assert rate_at(done, 'linear', 0.0) == pytest.approx(0.2 * (1 - done), abs=1e-7)


@pytest.mark.parametrize('optimizer', ['sgd', 'keras_sgd'])
def test_a_step_is_as_long_as_the_rate_says(tmp_path, optimizer):
    write_dataset(tmp_path / 'd', {'train': {1: 30}, 'validation': {1: 9}})
    examples = Examples(open_dataset(str(tmp_path / 'd')), 'train')
    config = TrainConfig(
        model=ModelConfig(name='mlp', hidden_units=[4], normalization='none'),
        optimizer=optimizer,
        learning_rate=0.5,
        lr_schedule='linear',
    )
    framework = make_framework(config, build_model(examples.manifest, config.model), examples)
    variable = framework.step.variables[-1]
    for done, length in ((0.0, 0.5), (0.5, 0.25), (1.0, 0.0)):
        framework.progress.fraction.assign(done)
        before = variable.numpy()
        framework.optimizer.apply_gradients(
            [
                (tf.ones_like(each) if each is variable else tf.zeros_like(each), each)
                for each in framework.step.variables
            ]
        )
        np.testing.assert_allclose(before - variable.numpy(), length, atol=1e-6)
        assert framework.learning_rate() == pytest.approx(length, abs=1e-7)


class _Cut(Exception):
    pass


@pytest.mark.parametrize(
    'framework, cut',
    [
        ('joint', 2),
        pytest.param('mamdr', 2, marks=pytest.mark.slow),
        pytest.param('mamdr', 10, marks=pytest.mark.slow),
        pytest.param('separate', 3, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_continues_has_the_rates_of_one_that_was_not_cut(
    tmp_path, monkeypatch, framework, cut
):
    dataset = str(tmp_path / 'd')
    write_dataset(tmp_path / 'd', {'train': {1: 60, 2: 30}, 'validation': {1: 20, 2: 9}})
    config = TrainConfig(
        model=ModelConfig(name='mlp', hidden_units=[4]),
        framework=framework,
        batch_size=10,
        epochs=2,
        patience=9,
        learning_rate=0.05,
        lr_schedule='cosine',
        warmup_ratio=0.2,
        checkpoint_steps=1,
    )
    whole = train(dataset, str(tmp_path / 'whole'), config)
    save, calls = Checkpoints.save, []

    def save_and_die(self, state):
        save(self, state)
        calls.append(state.step)
        if len(calls) == cut:
            raise _Cut

    monkeypatch.setattr(Checkpoints, 'save', save_and_die)
    with pytest.raises(_Cut):
        train(dataset, str(tmp_path / 'cut'), config)
    monkeypatch.undo()
    keras.backend.clear_session()
    again = train(dataset, str(tmp_path / 'cut'), config)
    one, other = (
        json.loads((pathlib.Path(path) / 'golden.json').read_text()) for path in (whole, again)
    )
    assert one == other and len(one['scores']) > 3


@pytest.mark.parametrize('framework', EVERY_FRAMEWORK)
def test_the_rate_falls_to_the_end_of_what_is_trained_and_no_sooner(
    tmp_path, monkeypatch, framework
):
    dataset = str(tmp_path / 'd')
    write_dataset(tmp_path / 'd', {'train': {1: 60, 2: 40, 3: 50}, 'validation': {1: 20}})
    helped = framework in ('domain_regularization', 'mamdr')
    inside, rates = [None], {}  # by the domain whose own parameters a step moves, or None
    step, enter, leave = (
        TrainStep.run,
        DomainSpecificParameters.enter,
        DomainSpecificParameters.leave,
    )

    def noted_step(self, batch):
        rate = self.optimizer._learning_rate  # learning_rate is that of the last update
        rates.setdefault(inside[0], []).append(float(rate(0) if callable(rate) else rate))
        return step(self, batch)

    def noted_enter(self, domain):
        inside[0] = domain
        enter(self, domain)

    def noted_leave(self, keep):
        inside[0] = None
        leave(self, keep)

    monkeypatch.setattr(TrainStep, 'run', noted_step)
    monkeypatch.setattr(DomainSpecificParameters, 'enter', noted_enter)
    monkeypatch.setattr(DomainSpecificParameters, 'leave', noted_leave)
    train(
        dataset,
        str(tmp_path / 'run'),
        TrainConfig(
            model=ModelConfig(name='mlp', hidden_units=[4]),
            framework=framework,
            batching='domain',
            framework_options={'helper_domains': 2} if helped else {},
            batch_size=10,
            epochs=2,
            patience=9,
            learning_rate=1.0,
            lr_schedule='linear',
        ),
    )
    batches = {1: 6, 2: 4, 3: 5}
    if framework == 'finetune':  # its tuning follows no schedule
        assert set(rates.pop(1)) == {1.0}
    if helped:  # two updates of line 4 and two of line 5, each of half of a pass less one
        steps = {domain: 2 * 2 * ((count - 1) // 2) for domain, count in batches.items()}
    elif framework == 'separate':
        steps = batches
    else:
        steps = {}
    if framework != 'separate':
        steps[None] = sum(batches.values())
    assert rates.keys() == steps.keys()
    for whose, count in steps.items():
        if framework in ('pcgrad', 'maml', 'mldg'):  # several batches a step, of three at most
            made = rates[whose]
            assert made == sorted(made, reverse=True)
            assert made[0] == 1.0 and 0.5 in made and 0 < made[-1] <= 3 / count / 2 + 1e-6
        else:
            np.testing.assert_allclose(
                rates[whose],
                [
                    1 - (epoch + place / count) / 2
                    for epoch in range(2)
                    for place in range(count)
                ],
                atol=1e-6,
            )


def test_the_rate_that_is_shown_is_the_last_step_s(tmp_path):
    write_dataset(tmp_path / 'd', {'train': {1: 60, 2: 40}, 'validation': {1: 20}})
    examples = Examples(open_dataset(str(tmp_path / 'd')), 'train')
    config = TrainConfig(
        model=ModelConfig(name='mlp', hidden_units=[4]),
        framework='mamdr',
        batch_size=10,
        framework_options={'helper_domains': 1, 'inner_learning_rate': 0.5},
        epochs=2,
        lr_schedule='linear',
    )
    framework = make_framework(config, build_model(examples.manifest, config.model), examples)
    shown, rows = [], 0
    framework.update_progress(0, rows)
    for progress in framework.epoch(0):
        rows += progress.rows
        framework.update_progress(0, rows)
        shown.append(framework.learning_rate())
    of_domains = {0.5 * (1 - share / 2) for share in (1 / 2, 3 / 4)}  # of 2 batches, and of 4
    np.testing.assert_allclose(
        shown[:10], [0.5 * (1 - batch / 20) for batch in range(10)], atol=1e-6
    )
    np.testing.assert_allclose(sorted(shown[10:]), sorted(of_domains), atol=1e-6)


def test_what_stops_a_training():
    overall = {'gauc': 0.6, 'auc': 0.7, 'log_loss': 0.5}
    assert stopping_value({'overall': overall}) == ('gauc', 0.6)
    assert stopping_value({'overall': overall}, 'auc') == ('auc', 0.7)
    assert stopping_value({'overall': overall}, 'log_loss') == ('log_loss', -0.5)
    assert stopping_value({'overall': {**overall, 'gauc': None}}) == ('auc', 0.7)
    nothing = {'gauc': None, 'auc': None, 'log_loss': 0.5}
    assert stopping_value({'overall': nothing}, 'auc') == ('log_loss', -0.5)

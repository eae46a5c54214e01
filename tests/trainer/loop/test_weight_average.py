"""The mean of epochs' weights, against NumPy, and over a run that is cut."""

import json
import pathlib

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from tests.parameters import slow_except
from tests.trainer.trainer_dataset import write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.frameworks import make_framework
from trainer.frameworks.core.moments import per_domain_variable_ids
from trainer.keras import keras, tf
from trainer.loop.checkpoints import Checkpoints
from trainer.loop.weight_average import WeightAverage
from trainer.models import build_model
from trainer.train import train


def test_means_and_what_comes_back():
    rng = np.random.default_rng(2)
    layer = keras.layers.Dense(3)
    layer.build((None, 2))
    count = tf.Variable(7)
    average = WeightAverage({'layer': layer, 'parts': {'count': count}})
    seen = []
    for _ in range(3):
        values = [rng.normal(size=weight.shape).astype(np.float32) for weight in layer.weights]
        layer.set_weights(values)
        count.assign_add(1)
        average.add()
        seen.append(values)
    with average.in_place():
        for part, weight in enumerate(layer.get_weights()):
            np.testing.assert_allclose(
                weight, np.mean([of[part] for of in seen], axis=0), atol=1e-6
            )
        assert count.numpy() == 10  # a number of steps has no mean
    for weight, last in zip(layer.get_weights(), seen[-1], strict=True):
        np.testing.assert_array_equal(weight, last)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    path = str(tmp_path_factory.mktemp('average') / 'd')
    write_dataset(path, {'train': {1: 60, 2: 30}, 'validation': {1: 20, 2: 9}})
    return path


def config(**changes) -> TrainConfig:
    return TrainConfig(
        **{
            'model': ModelConfig(name='star', hidden_units=[4], embedding_dim=3),
            'batch_size': 10,
            'epochs': 2,
            'patience': 9,
            'learning_rate': 0.05,
            'checkpoint_steps': 4,
            'average_weights': True,
            **changes,
        }
    )


def weights_of(directory: str) -> dict[str, np.ndarray]:
    path = str(next(pathlib.Path(directory).glob('checkpoints/best-*.index')).with_suffix(''))
    return {
        name: tf.train.load_variable(path, name)
        for name, _ in tf.train.list_variables(path)
        if name.startswith('model') and 'OBJECT' not in name
    }


def test_the_export_has_the_mean_of_two_epochs(dataset, tmp_path):
    """Validation is left out, so the last epoch's weights are kept."""
    for name, changes in (('one', {'epochs': 1}), ('two', {}), ('mean', {})):
        train(
            dataset,
            str(tmp_path / name),
            config(average_weights=name == 'mean', **changes),
            validation_split=None,
        )
    one, two, mean = (weights_of(str(tmp_path / name)) for name in ('one', 'two', 'mean'))
    assert len(mean) > 5
    for name, value in mean.items():
        if value.dtype == np.float32:
            np.testing.assert_allclose(value, (one[name] + two[name]) / 2, atol=1e-6)
    assert any((one[name] != two[name]).any() for name in mean)


@pytest.mark.parametrize('name', ['mamdr', 'separate'])
def test_what_is_a_domains_own_is_averaged_too(dataset, name):
    keras.utils.set_random_seed(1)
    examples = Examples(open_dataset(dataset), 'train')
    run = config(framework=name)
    framework = make_framework(run, build_model(examples.manifest, run.model), examples)
    specific = framework.domain_specific
    average = WeightAverage(framework.weights(), specific)

    def of_domains():
        """The variables as each domain has them; of variables with a row for each domain the
        domain's row, since it reads no other."""
        found, led = {}, per_domain_variable_ids(framework.model)
        for domain in range(len(specific.deltas)):
            specific.enter(domain)
            found[domain] = [
                np.array(variable[domain] if id(variable) in led else variable)
                for variable in specific.step.variables
            ]
            specific.leave(keep=False)
        return found

    seen = []
    for epoch in range(3):
        list(framework.epoch(epoch))
        average.add()
        seen.append(of_domains())
    with average.in_place():
        means = of_domains()
    back = of_domains()
    for domain, values in means.items():
        for place, value in enumerate(values):
            epochs = [each[domain][place] for each in seen]
            np.testing.assert_allclose(value, np.mean(epochs, axis=0), atol=1e-6)
            np.testing.assert_array_equal(back[domain][place], epochs[-1])
    trained = [domain for domain, own in enumerate(specific.deltas) if own.is_set]
    assert len(trained) == 2
    assert all(
        any(
            (one != other).any()
            for one, other in zip(seen[0][domain], seen[2][domain], strict=True)
        )
        for domain in trained
    )


class _Cut(Exception):
    pass


@pytest.mark.parametrize('framework', slow_except(['joint', 'mamdr', 'separate'], {'joint'}))
def test_a_run_that_continues_has_the_same_mean(dataset, tmp_path, monkeypatch, framework):
    settings = config(framework=framework, epochs=3)
    whole = train(dataset, str(tmp_path / 'whole'), settings)
    save = Checkpoints.save

    def save_and_die(self, state):
        save(self, state)
        if state.epoch == 1:
            raise _Cut

    monkeypatch.setattr(Checkpoints, 'save', save_and_die)
    with pytest.raises(_Cut):
        train(dataset, str(tmp_path / 'cut'), settings)
    monkeypatch.undo()
    keras.backend.clear_session()
    again = train(dataset, str(tmp_path / 'cut'), settings)
    one, other = (
        json.loads((pathlib.Path(path) / 'golden.json').read_text())['scores']
        for path in (whole, again)
    )
    assert one == other

"""Optimizers are restored from their configuration, and from a saved compiled model."""

import numpy as np
import pytest

from trainer.keras import keras, tf
from trainer.optimizers.row_wise import OPTIMIZERS, make_optimizer
from trainer.optimizers.schedule import ProgressSchedule

NAMES = [*OPTIMIZERS, 'nadam', 'adamw']
OPTIONS = {
    'momentum': {'momentum': 0.8, 'clipnorm': 2.0},
    'adam': {'beta_1': 0.7},
    'adagrad': {'initial_accumulator_value': 0.3},
    'rmsprop': {'rho': 0.8, 'global_clipnorm': 1.0},
}


@pytest.mark.parametrize('name', NAMES)
def test_a_configuration_gives_an_equal_optimizer(name):
    optimizer = make_optimizer(name, 0.03, OPTIONS.get(name))
    config = optimizer.get_config()
    restored = type(optimizer).from_config(config)
    assert restored.get_config() == config
    assert not restored.jit_compile
    assert float(restored.learning_rate) == pytest.approx(0.03)


@pytest.mark.parametrize('name', NAMES)
def test_keras_deserializes_what_it_serializes(name):
    optimizer = make_optimizer(name, 0.03, OPTIONS.get(name))
    restored = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(restored) is type(optimizer)
    assert restored.get_config() == optimizer.get_config()


def test_a_schedule_is_restored_at_its_progress():
    fraction = tf.Variable(0.0, trainable=False)
    schedule = ProgressSchedule('linear', 0.2, 0.1, fraction)
    fraction.assign(0.55)
    optimizer = make_optimizer('adam', schedule)
    restored = type(optimizer).from_config(optimizer.get_config())
    assert isinstance(restored._learning_rate, ProgressSchedule)
    assert float(restored._learning_rate(0)) == pytest.approx(0.1)
    assert restored.get_config() == optimizer.get_config()


def compiled(name):
    """A compiled model and data to train it on."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.layers.Embedding(20, 3, input_length=2),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(make_optimizer(name, 0.05, OPTIONS.get(name)), 'mse')
    rng = np.random.default_rng(0)
    return model, (rng.integers(0, 20, (64, 2)), rng.random((64, 1)))


@pytest.mark.parametrize('path', ['model.keras', 'model.h5'])
@pytest.mark.parametrize('name', NAMES)
def test_a_compiled_model_that_is_saved_and_loaded_trains_on(name, path, tmp_path):
    model, rows = compiled(name)
    model.fit(*rows, batch_size=8, shuffle=False, verbose=0)
    model.save(str(tmp_path / path))
    loaded = keras.models.load_model(str(tmp_path / path))
    assert type(loaded.optimizer) is type(model.optimizer)
    for one in (model, loaded):
        one.fit(*rows, batch_size=8, shuffle=False, verbose=0)
    for weights, expected in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-6)


@pytest.mark.parametrize('name', NAMES)
def test_a_saved_model_is_loaded_with_its_optimizer(name, tmp_path):
    """Of any optimizer, Keras restores no slots from a SavedModel."""
    model, rows = compiled(name)
    model.fit(*rows, batch_size=8, shuffle=False, verbose=0)
    model.save(str(tmp_path / 'model'))
    loaded = keras.models.load_model(str(tmp_path / 'model'))
    assert type(loaded.optimizer) is type(model.optimizer)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    loaded.fit(*rows, batch_size=8, shuffle=False, verbose=0)

"""CTNet's adapters, equation 5, by NumPy."""

import numpy as np
import pytest

from tests.trainer.numeric import batches, check_training, randomize, weigh
from trainer.keras import keras, tf
from trainer.layers.transfer.gated_adapter import GatedAdapter
from trainer.layers.transfer.linear_adapter import LinearAdapter


def gated(z, value, gate):
    return (z @ value) / (1 + np.exp(-z @ gate))


def linear(z, value):
    return z @ value


@pytest.mark.parametrize(('kind', 'formula'), [(GatedAdapter, gated), (LinearAdapter, linear)])
def test_outputs_and_gradients_equal_the_paper_in_numpy(kind, formula):
    layer = kind(3)
    layer(tf.zeros([1, 4]))
    randomize(layer)
    check_training(
        layer.trainable_variables,
        lambda batch: weigh(layer(tf.constant(batch[0]))),
        lambda arrays, batch: weigh(formula(batch[0].astype(np.float64), *arrays)),
        batches(4),
    )


@pytest.mark.parametrize('kind', [GatedAdapter, LinearAdapter])
def test_it_starts_very_small_and_is_written_down(kind):
    keras.utils.set_random_seed(1)
    layer = kind(50, scale=1e-3)
    outputs = layer(tf.ones([1, 100]))
    assert 0 < np.abs(outputs).max() < 0.05
    for variable in layer.trainable_variables:
        assert 0.9e-3 < variable.numpy().std() < 1.1e-3
    values = [variable.numpy() for variable in layer.trainable_variables]
    assert len(values) < 2 or not np.array_equal(*values)  # drawn one by one
    again = kind.from_config(layer.get_config())
    assert (again.units, again.scale) == (50, 1e-3)

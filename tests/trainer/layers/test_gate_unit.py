"""GateUnit against its formula, gradients included."""

import numpy as np

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.basic.gate_unit import GateUnit

INPUTS = 3


def paper(x, kernel, bias, factor_kernel, factor_bias):
    hidden = numeric.relu(x @ kernel + bias)
    return 1.5 / (1 + np.exp(-(hidden @ factor_kernel + factor_bias)))


def test_outputs_gradients_and_steps():
    layer = GateUnit(2, hidden_units=4, gamma=1.5)
    layer(tf.ones([1, INPUTS]))
    numeric.randomize(layer)
    numeric.check_training(
        layer.trainable_variables,
        lambda batch: numeric.weigh(layer(batch[0])),
        lambda arrays, batch: numeric.weigh(paper(batch[0], *arrays)),
        numeric.batches(INPUTS),
    )
    again = GateUnit.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()

"""CustomizedGateControl against equations 1 to 6 of PLE, row by row."""

import numpy as np
import pytest

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.experts.customized_gate_control import CustomizedGateControl

DOMAINS, INPUTS, UNITS, SPECIFIC, SHARED = 4, 3, 2, 2, 1


def make(last):
    layer = CustomizedGateControl(UNITS, DOMAINS, SPECIFIC, SHARED, last=last)
    empty = np.zeros((1, INPUTS), np.float32)
    layer((empty, empty), tf.constant(1))
    numeric.randomize(layer)
    return layer


def variables_of(layer):
    of = [
        layer.specific.domain_kernel,
        layer.specific.domain_bias,
        layer.shared.kernel,
        layer.shared.bias,
        layer.gate.logits.domain_kernel,
        layer.gate.logits.domain_bias,
    ]
    return of if layer.last else [*of, layer.shared_gate.kernel, layer.shared_gate.bias]


def paper(arrays, own, shared, domains):
    kernel, bias, shared_kernel, shared_bias, gate, gate_bias, *shared_gate = arrays
    of_domain, of_shared = [], []
    for x, x_s, p in zip(own, shared, domains, strict=True):
        parts = [slice(i * UNITS, (i + 1) * UNITS) for i in range(SPECIFIC)]
        experts = [numeric.relu(x @ kernel[p][:, part] + bias[p][part]) for part in parts]
        experts += [
            numeric.relu(x_s @ shared_kernel[i] + shared_bias[i, 0]) for i in range(SHARED)
        ]
        weights = numeric.softmax(x @ gate[p] + gate_bias[p])
        of_domain.append(weights @ np.stack(experts))
        if shared_gate:
            weights = numeric.softmax(x_s @ shared_gate[0] + shared_gate[1])
            of_shared.append(weights @ np.stack(experts))
    return np.stack(of_domain), np.stack(of_shared if shared_gate else of_domain)


@pytest.mark.parametrize('last', [True, False])
def test_outputs_gradients_and_steps(last):
    layer = make(last)

    def layer_loss(batch):
        own, shared = layer((batch[0], batch[0][:, ::-1]), batch[2], training=True)
        return numeric.weigh(own) + numeric.weigh(shared, seed=9)

    def paper_loss(arrays, batch):
        own, shared = paper(arrays, batch[0], batch[0][:, ::-1], batch[1])
        return numeric.weigh(own) + numeric.weigh(shared, seed=9)

    numeric.check_training(variables_of(layer), layer_loss, paper_loss, numeric.batches(INPUTS))


@pytest.mark.parametrize('last', [True, False])
def test_an_unseen_domain_has_the_mean_of_experts_and_gates(last):
    layer = make(last)
    x = np.random.default_rng(0).normal(size=(4, INPUTS)).astype(np.float32)
    arrays = [variable.numpy() for variable in variables_of(layer)]
    for place in (0, 1, 4, 5):
        arrays[place][0] = arrays[place][1:].mean(axis=0)
    expected = paper(arrays, x, x, [0, 2, 0, 1])
    for folded in (False, True):
        if folded:
            layer.specific.fold()
            layer.gate.logits.fold()
        found = layer((x, x), tf.constant([0, 2, 7, 1]))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_config_round_trip():
    layer = CustomizedGateControl(5, DOMAINS, 3, 4, [6], last=False, rate=0.2, seed=8)
    again = CustomizedGateControl.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    x = np.ones((2, INPUTS), np.float32)
    assert [part.shape for part in again((x, x), tf.constant(1))] == [(2, 5), (2, 5)]

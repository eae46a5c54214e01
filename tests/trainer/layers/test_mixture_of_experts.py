"""Experts and gates against equations 6 and 7 of MMoE, row by row."""

import numpy as np
import pytest

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.experts.mixture_of_experts import DomainGate, ExpertDense, mix_experts

DOMAINS, INPUTS, EXPERTS, UNITS = 4, 3, 3, 2


def make(gate_units=()):
    experts = [ExpertDense(4, EXPERTS), ExpertDense(UNITS, EXPERTS)]
    gate = DomainGate(EXPERTS, DOMAINS, gate_units)
    experts[0].build(tf.TensorShape([None, INPUTS]))
    experts[1].build(tf.TensorShape([EXPERTS, None, 4]))
    gate(np.zeros((1, INPUTS), np.float32), tf.constant(1))
    for layer in (*experts, gate):
        numeric.randomize(layer)
    return experts, gate


def layer_mixture(experts, gate, batch, training=True):
    hidden = batch[0]
    for layer in experts:
        hidden = layer(hidden)
    return mix_experts(gate(batch[0], batch[2], training=training), hidden)


def paper_mixture(arrays, x, domains):
    kernel_1, bias_1, kernel_2, bias_2, *gates = arrays
    outputs = []
    for row, p in zip(x, domains, strict=True):
        hidden = row
        for kernel, bias in zip(gates[:-2:2], gates[1:-2:2], strict=True):
            hidden = numeric.relu(kernel[p].T @ hidden + bias[p])
        weights = numeric.softmax(gates[-2][p].T @ hidden + gates[-1][p])
        outputs.append(
            sum(
                weights[i]
                * numeric.relu(
                    numeric.relu(row @ kernel_1[i] + bias_1[i, 0]) @ kernel_2[i] + bias_2[i, 0]
                )
                for i in range(EXPERTS)
            )
        )
    return np.stack(outputs)


@pytest.mark.parametrize('gate_units', [(), (2,)])
def test_outputs_gradients_and_steps(gate_units):
    experts, gate = make(gate_units)
    variables = [
        variable for layer in (*experts, gate) for variable in layer.trainable_variables
    ]
    numeric.check_training(
        variables,
        lambda batch: numeric.weigh(layer_mixture(experts, gate, batch)),
        lambda arrays, batch: numeric.weigh(paper_mixture(arrays, batch[0], batch[1])),
        numeric.batches(INPUTS),
    )


def test_gates_are_shares_and_an_unseen_domain_has_the_mean_gate():
    _, gate = make()
    x = np.random.default_rng(0).normal(size=(6, INPUTS)).astype(np.float32)
    weights = gate(x, tf.constant([1, 0, 2, 3, 0, 9])).numpy()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    kernel, bias = (variable.numpy()[1:].mean(axis=0) for variable in gate.variables)
    for i in (1, 4, 5):
        np.testing.assert_allclose(weights[i], numeric.softmax(x[i] @ kernel + bias), atol=1e-5)


def test_each_expert_starts_as_a_dense_layer_of_its_own():
    layer = ExpertDense(60, 8)
    layer.build(tf.TensorShape([None, 40]))
    kernel = layer.kernel.numpy()
    limit = np.sqrt(6 / (40 + 60))
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert not np.allclose(kernel[0], kernel[1])


def test_config_round_trip():
    gate = DomainGate.from_config(DomainGate(3, DOMAINS, [5]).get_config())
    assert (gate.experts, gate.hidden_units, gate.num_domains) == (3, [5], DOMAINS)
    layer = ExpertDense.from_config(ExpertDense(5, 2, 'tanh').get_config())
    assert (layer.units, layer.experts) == (5, 2)
    assert layer.activation is tf.keras.activations.tanh

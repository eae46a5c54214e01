"""EveryDomainDense against one matrix product per row and domain."""

import numpy as np
import pytest

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.experts.every_domain_dense import EveryDomainDense, own_output

DOMAINS, INPUTS, UNITS = 4, 3, 2


@pytest.fixture()
def layer():
    layer = EveryDomainDense(UNITS, DOMAINS, activation='relu')
    layer.build(tf.TensorShape([None, INPUTS]))
    numeric.randomize(layer)
    return layer


def paper(x, kernel, bias):
    """[batch, domains, units] of x, [batch, c] or [batch, domains, c]."""
    inputs = [[row] * len(kernel) if row.ndim == 1 else row for row in x]
    return np.stack(
        [
            [numeric.relu(k.T @ v + b) for k, b, v in zip(kernel, bias, row, strict=True)]
            for row in inputs
        ]
    )


def test_outputs_gradients_and_steps(layer):
    numeric.check_training(
        [layer.domain_kernel, layer.domain_bias],
        lambda batch: numeric.weigh(layer(batch[0], batch[2], training=True)),
        lambda arrays, batch: numeric.weigh(paper(batch[0], *arrays)),
        numeric.batches(INPUTS),
    )


def test_a_second_layer_reads_each_domains_own_inputs(layer):
    x = np.random.default_rng(0).normal(size=(5, DOMAINS, INPUTS)).astype(np.float32)
    expected = paper(x, layer.domain_kernel.numpy(), layer.domain_bias.numpy())
    domains = tf.constant([1, 2, 1, 3, 0])
    np.testing.assert_allclose(layer(x, domains, training=True), expected, atol=1e-5)


def test_unseen_domains_have_the_mean_of_the_weights_folded_or_not(layer):
    x = np.random.default_rng(0).normal(size=(5, INPUTS)).astype(np.float32)
    kernel, bias = layer.domain_kernel.numpy(), layer.domain_bias.numpy()
    kernel[0], bias[0] = kernel[1:].mean(axis=0), bias[1:].mean(axis=0)
    expected = paper(x, kernel, bias)
    for domain in (tf.constant(2), tf.constant([0, 1, 2, 3, 9])):
        np.testing.assert_allclose(layer(x, domain), expected, atol=1e-5)
    layer.fold()
    np.testing.assert_allclose(layer(x, tf.constant(2)), expected, atol=1e-5)


def test_own_output_is_that_of_the_rows_domain():
    outputs = tf.reshape(tf.range(24.0), [3, DOMAINS, 2])
    mixed = DomainBatch(tf.constant([0, 2, 3]), DOMAINS)
    np.testing.assert_array_equal(own_output(outputs, mixed)[:, 0], [0, 12, 22])
    one = DomainBatch(tf.constant(1), DOMAINS)
    np.testing.assert_array_equal(own_output(outputs, one)[:, 0], [2, 10, 18])


def test_it_is_made_again_from_its_configuration(layer):
    again = EveryDomainDense.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()

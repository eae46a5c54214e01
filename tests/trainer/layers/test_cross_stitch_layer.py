"""CrossStitchNetwork against equation 1 of cross-stitch networks, row by row."""

import numpy as np
import pytest

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.experts.cross_stitch_network import CrossStitchNetwork

DOMAINS, INPUTS, UNITS = 4, 3, [3, 2]


@pytest.fixture()
def layer():
    layer = CrossStitchNetwork(UNITS, DOMAINS)
    layer.build(tf.TensorShape([None, INPUTS]))
    numeric.randomize(layer)
    return layer


def variables_of(layer):
    return [*layer.domain_kernels, *layer.domain_biases, *layer.domain_stitches]


def paper(arrays, x, domains):
    kernels, biases, stitches = arrays[:2], arrays[2:4], arrays[4:]
    outputs = []
    for row, p in zip(x, domains, strict=True):
        inputs = dict.fromkeys(range(1, DOMAINS), row)
        for kernel, bias, alpha in zip(kernels, biases, stitches, strict=True):
            hidden = {q: numeric.relu(inputs[q] @ kernel[q] + bias[q, 0]) for q in inputs}
            stitched = {a: sum(alpha[a, q] * hidden[q] for q in hidden) for a in range(DOMAINS)}
            inputs = {q: stitched[q] for q in range(1, DOMAINS)}
        outputs.append(stitched[p])
    return np.stack(outputs)


def test_outputs_gradients_and_steps(layer):
    numeric.check_training(
        variables_of(layer),
        lambda batch: numeric.weigh(layer(batch[0], batch[2], training=True)),
        lambda arrays, batch: numeric.weigh(paper(arrays, batch[0], batch[1])),
        numeric.batches(INPUTS),
    )


def test_alphas_start_at_own_and_equal_shares_of_the_rest():
    layer = CrossStitchNetwork([3], 5, own=0.7)
    layer.build(tf.TensorShape([None, INPUTS]))
    alpha = layer.domain_stitches[0].numpy()
    np.testing.assert_allclose(alpha[1:, 1:], np.full((4, 4), 0.1) + 0.6 * np.eye(4), atol=1e-6)
    np.testing.assert_allclose(alpha[0, 1:], 0.25, atol=1e-6)
    np.testing.assert_array_equal(alpha[:, 0], 0)


def test_one_domain_is_a_plain_network():
    layer = CrossStitchNetwork([4], 2)
    x = np.random.default_rng(0).normal(size=(5, INPUTS)).astype(np.float32)
    outputs = layer(x, tf.constant(1))
    kernel = layer.domain_kernels[0].numpy()[1]
    np.testing.assert_allclose(outputs, numeric.relu(x @ kernel), atol=1e-5)


def test_an_unseen_domain_has_the_mean_of_the_last_alphas(layer):
    x = np.random.default_rng(0).normal(size=(5, INPUTS)).astype(np.float32)
    arrays = [variable.numpy() for variable in variables_of(layer)]
    arrays[-1][0] = arrays[-1][1:].mean(axis=0)
    expected = paper(arrays, x, [0, 1, 0, 3, 0])
    given = tf.constant([0, 1, 99, 3, -1])
    np.testing.assert_allclose(layer(x, given), expected, atol=1e-5)
    np.testing.assert_allclose(layer(x[::2], tf.constant(0)), expected[::2], atol=1e-5)
    layer.fold()
    np.testing.assert_allclose(layer(x, given), expected, atol=1e-5)


def test_config_round_trip():
    layer = CrossStitchNetwork([4, 5], DOMAINS, own=0.6, dropout=0.1, seed=3)
    again = CrossStitchNetwork.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again(np.ones((2, 4), np.float32), tf.constant(1)).shape == (2, 5)

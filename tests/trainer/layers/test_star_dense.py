"""StarDense against STAR's equations 5 and 6."""

import numpy as np
import pytest

from tests.trainer import paper
from trainer.keras import tf
from trainer.layers.domain.star_dense import StarDense

DOMAINS, INPUTS, UNITS = 5, 4, 3


@pytest.fixture()
def layer():
    rng = np.random.default_rng(0)
    layer = StarDense(UNITS, DOMAINS)
    layer.build(tf.TensorShape([None, INPUTS]))
    for variable in layer.variables:
        variable.assign(rng.normal(size=variable.shape))
    return layer


def weights(layer):
    return [
        v.numpy().astype(np.float64)
        for v in (layer.kernel, layer.domain_kernel, layer.bias, layer.domain_bias)
    ]


def rows(count=11, seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, INPUTS)).astype(np.float32), rng.choice([1, 2, 4], count)


def test_mixed_and_single_outputs(layer):
    x, domains = rows()
    expected = paper.star_dense(x, domains, *weights(layer))
    np.testing.assert_allclose(layer(x, tf.constant(domains)), expected, atol=1e-5)
    for p in (1, 2, 4):
        np.testing.assert_allclose(
            layer(x[domains == p], tf.constant(p)), expected[domains == p], atol=1e-5
        )


def test_starts_as_the_shared_layer_and_an_unseen_domain_stays_it():
    layer = StarDense(UNITS, DOMAINS, activation='relu')
    x, _ = rows()
    expected = None
    for p in (0, 3, DOMAINS + 7, -1):
        outputs = layer(x, tf.constant(p)).numpy()
        expected = np.maximum(x @ layer.kernel.numpy(), 0) if expected is None else expected
        np.testing.assert_allclose(outputs, expected, atol=1e-6)


@pytest.mark.parametrize('mixed', [True, False])
def test_gradients_equal_the_paper_in_numpy(layer, mixed):
    x, domains = rows()
    domains = domains if mixed else np.full(len(x), 2)
    upstream = np.random.default_rng(2).normal(size=(len(x), UNITS)).astype(np.float32)
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, tf.constant(domains if mixed else 2))
        target = tf.reduce_sum(outputs * upstream)
    found = tape.gradient(
        target, [layer.kernel, layer.domain_kernel, layer.bias, layer.domain_bias, inputs]
    )
    kernel, domain_kernel, _, _ = weights(layer)
    expected = paper.star_dense_gradients(x, domains, kernel, domain_kernel, upstream)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(one), other, atol=1e-4)
    # A domain's weights learn from its own rows alone: no other row is in the gradient.
    for sparse in (found[1], found[3]):
        assert isinstance(sparse, tf.IndexedSlices)
        assert sorted(sparse.indices.numpy()) == sorted(set(domains))


def test_second_order_gradients_of_a_mixed_batch(layer):
    """Frameworks like MAML differentiate a gradient; finite differences of the first order."""
    x, domains = rows()

    def gradient(kernel):
        layer.kernel.assign(kernel)
        with tf.GradientTape() as tape:
            target = tf.reduce_sum(tf.sigmoid(layer(x, tf.constant(domains))))
        return tape.gradient(target, layer.kernel).numpy().astype(np.float64)

    start = layer.kernel.numpy()
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            target = tf.reduce_sum(tf.sigmoid(layer(x, tf.constant(domains))))
        first = inner.gradient(target, layer.kernel)
        squared = tf.reduce_sum(first[0, 0])
    found = outer.gradient(squared, layer.kernel).numpy()
    step = np.zeros_like(start)
    step[1, 0] = 1e-2
    expected = (gradient(start + step) - gradient(start - step))[0, 0] / 2e-2
    assert found[1, 0] == pytest.approx(expected, abs=2e-3)


def test_folded_weights_give_the_same_scores_until_training_goes_on(layer):
    x, domains = rows()
    before = layer(x, tf.constant(domains)).numpy()
    layer.fold()
    np.testing.assert_allclose(layer(x, tf.constant(domains)), before, atol=1e-6)
    layer.kernel.assign(layer.kernel * 2)
    np.testing.assert_allclose(layer(x, tf.constant(domains)), before, atol=1e-6)
    layer.unfold()
    assert not np.allclose(layer(x, tf.constant(domains)), before)


def test_config_round_trip():
    layer = StarDense.from_config(StarDense(7, 3, activation='relu').get_config())
    assert (layer.units, layer.num_domains) == (7, 3)
    assert layer(np.ones((2, 4), np.float32), tf.constant(1)).shape == (2, 7)

"""DomainDense and DomainTower against one matrix product a row."""

import numpy as np
import pytest

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.basic.tower import DomainTower, Tower
from trainer.layers.domain.domain_dense import DomainDense

DOMAINS, INPUTS, UNITS = 4, 3, 2


@pytest.fixture()
def layer():
    layer = DomainDense(UNITS, DOMAINS, activation='relu')
    layer.build(tf.TensorShape([None, INPUTS]))
    numeric.randomize(layer)
    return layer


def paper(x, domains, kernel, bias):
    return np.stack(
        [numeric.relu(kernel[p].T @ row + bias[p]) for row, p in zip(x, domains, strict=True)]
    )


def test_outputs_gradients_and_steps(layer):
    numeric.check_training(
        [layer.domain_kernel, layer.domain_bias],
        lambda batch: numeric.weigh(layer(batch[0], batch[2], training=True)),
        lambda arrays, batch: numeric.weigh(paper(batch[0], batch[1], *arrays)),
        numeric.batches(INPUTS),
    )


def test_a_domain_learns_from_its_own_rows_alone(layer):
    x, domains, given = numeric.batches(INPUTS)[0]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x, given, training=True))
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert isinstance(gradient, tf.IndexedSlices)
        assert sorted(gradient.indices.numpy()) == sorted(set(domains))


def test_one_domain_and_mixed_batches_give_the_same_rows(layer):
    x = np.random.default_rng(0).normal(size=(12, INPUTS)).astype(np.float32)
    domains = np.arange(12) * 7 % 5 - 1  # -1 .. 3; -1 is an unseen domain
    mixed = layer(x, tf.constant(domains)).numpy()
    for p in np.unique(domains):
        np.testing.assert_allclose(
            layer(x[domains == p], tf.constant(p)), mixed[domains == p], atol=1e-6
        )


@pytest.mark.parametrize('domain', [0, -1, DOMAINS])
def test_an_unseen_domain_has_the_mean_of_the_weights(layer, domain):
    x = np.random.default_rng(0).normal(size=(5, INPUTS)).astype(np.float32)
    kernel, bias = (
        variable.numpy()[1:].mean(axis=0)
        for variable in (layer.domain_kernel, layer.domain_bias)
    )
    expected = numeric.relu(x @ kernel + bias)
    np.testing.assert_allclose(layer(x, tf.constant(domain)), expected, atol=1e-6)
    mixed = layer(x, tf.constant([1, domain, 2, domain, 3]))
    np.testing.assert_allclose(mixed.numpy()[[1, 3]], expected[[1, 3]], atol=1e-6)
    layer.fold()
    np.testing.assert_allclose(layer(x, tf.constant(domain)), expected, atol=1e-6)
    np.testing.assert_allclose(
        layer(x, tf.constant([1, domain, 2, domain, 3])), mixed, atol=1e-6
    )
    layer.domain_kernel.assign(layer.domain_kernel * 2)  # folded weights are a copy
    np.testing.assert_allclose(layer(x, tf.constant(domain)), expected, atol=1e-6)
    layer.unfold()
    assert not np.allclose(layer(x, tf.constant(domain)), expected)


def test_all_domains_start_at_the_same_weights_of_a_dense_layers_size():
    layer = DomainDense(60, DOMAINS, blocks=3)
    layer.build(tf.TensorShape([None, 40]))
    kernel = layer.domain_kernel.numpy()
    for row in kernel[1:]:
        np.testing.assert_array_equal(row, kernel[0])
    limit = np.sqrt(6 / (40 + 20))  # of three layers of 20 units
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert not np.allclose(kernel[0, :, :20], kernel[0, :, 20:40])


def test_without_rows_there_are_no_outputs(layer):
    score = tf.function(
        lambda x, domain: layer(x, domain),
        autograph=False,
        input_signature=[tf.TensorSpec([None, INPUTS]), tf.TensorSpec([None], tf.int32)],
    )
    assert score(tf.zeros([0, INPUTS]), tf.zeros([0], tf.int32)).shape == (0, UNITS)


def test_towers_equal_numpy():
    x, domains, given = numeric.batches(INPUTS)[0]
    shared, own = Tower([5, 2]), DomainTower([5, 2], DOMAINS)
    shared(x), own(x, given)
    numeric.randomize(shared)
    numeric.randomize(own)
    hidden = [variable.numpy() for variable in shared.trainable_variables]
    expected = numeric.relu(numeric.relu(x @ hidden[0] + hidden[1]) @ hidden[2] + hidden[3])
    np.testing.assert_allclose(shared(x), expected, atol=1e-5)
    hidden = [variable.numpy() for variable in own.trainable_variables]
    expected = paper(paper(x, domains, *hidden[:2]), domains, *hidden[2:])
    np.testing.assert_allclose(own(x, given), expected, atol=1e-5)


@pytest.mark.parametrize(
    'tower', [Tower([6, 4], dropout=0.5), DomainTower([6, 4], DOMAINS, dropout=0.5)]
)
def test_towers_drop_out_in_training_alone(tower):
    x = np.ones((200, INPUTS), np.float32)
    domain = () if isinstance(tower, Tower) else (tf.constant(1),)
    scored, trained = tower(x, *domain), tower(x, *domain, training=True)
    np.testing.assert_allclose(tower(x, *domain), scored)
    live = scored.numpy()[0] > 0
    zeros = (trained.numpy()[:, live] == 0).mean()
    assert not live.any() or 0.3 < zeros < 0.8


@pytest.mark.parametrize(
    'layer',
    [DomainDense(6, DOMAINS, activation='relu', blocks=2), DomainTower([3, 6], DOMAINS)],
)
def test_config_round_trip(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again(np.ones((2, 4), np.float32), tf.constant(1)).shape == (2, 6)

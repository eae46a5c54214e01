"""PartitionedNormalization against STAR's equations 3 and 4, state included."""

import numpy as np
import pytest

from tests.trainer import paper
from trainer.keras import tf
from trainer.layers.domain.partitioned_normalization import PartitionedNormalization
from trainer.layers.domain.star_dense import StarDense

DOMAINS, UNITS, EPSILON = 5, 3, 1e-3


def make(momentum=0.7):
    layer = PartitionedNormalization(DOMAINS, momentum=momentum, epsilon=EPSILON)
    layer.build(tf.TensorShape([None, UNITS]))
    reference = paper.PartitionedNormalization(DOMAINS, UNITS, momentum, EPSILON)
    rng = np.random.default_rng(5)
    for name in ('gamma', 'beta', 'domain_gamma', 'domain_beta'):
        values = rng.normal(size=getattr(layer, name).shape).astype(np.float32)
        getattr(layer, name).assign(values)
        setattr(reference, name, values.astype(np.float64))
    return layer, reference


def batch(rng, domains):
    domains = np.asarray(domains)
    scale = np.array([1.0, 1.0, 10.0, 0.1, 3.0])[domains][:, None]
    z = rng.normal(size=(len(domains), UNITS)) * scale + domains[:, None]
    return z.astype(np.float32), domains


def check_state(layer, reference):
    np.testing.assert_allclose(layer.moving_mean, reference.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, reference.variance, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_count, reference.count, rtol=1e-5)


def test_mixed_batches_step_by_step():
    layer, reference = make()
    rng = np.random.default_rng(0)
    for step in range(8):
        z, domains = batch(rng, rng.choice([1, 2, 3] if step % 2 else [1, 2], 12))
        expected = reference.train(z.astype(np.float64), domains)
        np.testing.assert_allclose(
            layer(z, tf.constant(domains), training=True), expected, rtol=1e-3, atol=1e-4
        )
        check_state(layer, reference)
        np.testing.assert_allclose(
            layer(z, tf.constant(domains)),
            reference.infer(z.astype(np.float64), domains),
            rtol=1e-3,
            atol=1e-4,
        )


def test_batches_of_one_domain_step_by_step():
    layer, reference = make()
    rng = np.random.default_rng(0)
    for p in (1, 2, 1, 1, 3, 2):
        z, domains = batch(rng, [p] * 9)
        expected = reference.train(z.astype(np.float64), domains)
        np.testing.assert_allclose(
            layer(z, tf.constant(p), training=True), expected, rtol=1e-3, atol=1e-4
        )
        check_state(layer, reference)


def test_batches_count_by_their_rows():
    layer, reference = make(momentum=0.9)
    rng = np.random.default_rng(0)
    for step in range(30):
        size = int(rng.integers(1, 4)) if step % 3 else 40
        z, domains = batch(rng, [1] * size + [2] * 7)
        reference.train(z.astype(np.float64), domains)
        layer(z, tf.constant(domains), training=True)
        check_state(layer, reference)


@pytest.mark.parametrize('rows', [2, 3, 5, 20])
def test_moving_variance_is_right_for_few_rows_per_batch(rows):
    units = 200
    layer = PartitionedNormalization(4, epsilon=0.0)
    rng = np.random.default_rng(rows)
    domains = np.repeat([1, 2, 3], rows)
    scale, shift = (np.array(values)[domains][:, None] for values in ([0, 1, 10, 0.1],) * 2)
    for _ in range(400):
        z = rng.normal(size=(len(domains), units)) * scale + shift
        layer(tf.constant(z, tf.float32), tf.constant(domains), training=True)
    variance = layer.moving_variance.numpy().mean(axis=1)
    np.testing.assert_allclose(variance[1:] / np.array([1, 10, 0.1]) ** 2, 1, rtol=0.03)
    # Row 0: within the domains and between them.
    overall = np.mean([1, 100, 0.01]) + np.var([1, 10, 0.1])
    np.testing.assert_allclose(variance[0], overall, rtol=0.03)
    domain = np.repeat([1, 2, 3], 1000)
    z = rng.normal(size=(3000, units))
    z = (z + 1) * np.array([0, 1, 10, 0.1])[domain][:, None]
    outputs = layer(tf.constant(z, tf.float32), tf.constant(domain)).numpy()
    spread = outputs.reshape(3, 1000, units).std(axis=1).mean(axis=1)
    np.testing.assert_allclose(spread, 1, atol=0.03)


@pytest.mark.parametrize('rows', [2, 3, 20])
def test_moving_variance_of_all_rows_is_right_for_small_batches_of_one_domain(rows):
    layer = PartitionedNormalization(3)
    rng = np.random.default_rng(rows)
    for step in range(800):
        z = rng.normal(size=(rows, 200)) + 3 * (step % 2)
        layer(tf.constant(z, tf.float32), tf.constant(1 + step % 2), training=True)
    np.testing.assert_allclose(layer.moving_variance[0].numpy().mean(), 1 + 1.5**2, rtol=0.03)


def test_a_domain_moves_only_with_rows_of_its_own():
    layer, _ = make()
    rng = np.random.default_rng(0)
    layer(batch(rng, [1] * 8)[0], tf.constant(1), training=True)
    before = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    z, domains = batch(rng, [2] * 5 + [3] * 5)
    layer(z, tf.constant(domains), training=True)
    for old, new in zip(before, (layer.moving_mean, layer.moving_variance), strict=True):
        np.testing.assert_array_equal(old[[1, 4]], new.numpy()[[1, 4]])
        assert not np.allclose(old[[0, 2, 3]], new.numpy()[[0, 2, 3]])


def test_one_row_uses_the_averages_and_does_not_move_them():
    layer, reference = make()
    rng = np.random.default_rng(0)
    for _ in range(3):
        z, domains = batch(rng, [1] * 6 + [2] * 6)
        layer(z, tf.constant(domains), training=True)
        reference.train(z.astype(np.float64), domains)
    before = layer.moving_mean.numpy()
    z, _ = batch(rng, [2])
    outputs = layer(z, tf.constant(2), training=True)
    np.testing.assert_allclose(outputs, reference.infer(z, [2]), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(layer.moving_mean, before)
    # ... and beside other domains' rows in a mixed batch:
    z, domains = batch(rng, [1] * 6 + [2])
    outputs = layer(z, tf.constant(domains), training=True)
    np.testing.assert_allclose(
        outputs, reference.train(z.astype(np.float64), domains), rtol=1e-3, atol=1e-4
    )
    check_state(layer, reference)


@pytest.mark.parametrize('training', [True, False])
def test_one_row_of_a_new_layer_is_finite(training):
    layer, _ = make()
    z, _ = batch(np.random.default_rng(0), [3])
    for domain in (tf.constant(3), tf.constant([3])):
        outputs = layer(z, domain, training=training).numpy()
        assert np.isfinite(outputs).all() and np.abs(outputs).max() < 100
    assert np.isfinite(layer.moving_variance.numpy()).all()


def test_a_domain_not_seen_uses_the_moments_of_all():
    layer, _ = make(momentum=0.99)
    rng = np.random.default_rng(0)
    for name in ('domain_gamma', 'gamma'):
        getattr(layer, name).assign(tf.ones_like(getattr(layer, name)))
    for name in ('domain_beta', 'beta'):
        getattr(layer, name).assign(tf.zeros_like(getattr(layer, name)))
    seen = []
    for _ in range(300):
        p = int(rng.choice([1, 2]))
        z, _ = batch(rng, [p] * 40)
        layer(z, tf.constant(p), training=True)
        seen.append(z)
    everything = np.concatenate(seen)
    for p in (0, 4, 77):  # the unseen, one without rows so far, one out of range
        outputs = layer(everything, tf.constant(p)).numpy()
        np.testing.assert_allclose(outputs.mean(axis=0), 0, atol=0.2)
        np.testing.assert_allclose(outputs.std(axis=0), 1, atol=0.15)


def test_inference_does_not_depend_on_the_batch():
    layer, _ = make()
    rng = np.random.default_rng(0)
    z, domains = batch(rng, rng.integers(0, DOMAINS, 20))
    layer(z, tf.constant(domains), training=True)
    together = layer(z, tf.constant(domains)).numpy()
    for i in range(len(z)):
        alone = layer(z[i : i + 1], tf.constant(domains[i]))
        np.testing.assert_allclose(alone, together[i : i + 1], atol=1e-6)
    layer.fold()
    np.testing.assert_allclose(layer(z, tf.constant(domains)), together, rtol=1e-5, atol=1e-5)


def test_folded_into_the_layer_behind():
    layer, _ = make()
    rng = np.random.default_rng(0)
    z, domains = batch(rng, rng.integers(1, 3, 20))
    layer(z, tf.constant(domains), training=True)
    dense = StarDense(2, DOMAINS, activation='relu')
    dense.build(tf.TensorShape([None, UNITS]))
    for variable in dense.variables:
        variable.assign(rng.normal(size=variable.shape))
    everyone = np.arange(20) % DOMAINS
    normalized = layer(z, tf.constant(everyone)).numpy()
    kernels = dense.kernel.numpy() * dense.domain_kernel.numpy()[everyone]
    expected = np.maximum(
        np.einsum('bi,bio->bo', normalized, kernels)
        + dense.bias.numpy()
        + dense.domain_bias.numpy()[everyone],
        0,
    )
    layer.fold()
    dense.fold()
    layer.fold_into(dense.folded)
    np.testing.assert_array_equal(layer(z, tf.constant(everyone)), z)
    np.testing.assert_allclose(dense(z, tf.constant(everyone)), expected, rtol=1e-4, atol=1e-4)
    layer.unfold()
    np.testing.assert_allclose(layer(z, tf.constant(everyone)), normalized, atol=1e-6)


def test_gradients_against_finite_differences():
    for domains in (np.full(7, 2), np.array([1, 1, 2, 2, 2, 1, 4])):
        layer, _ = make()
        z, _ = batch(np.random.default_rng(3), domains)
        domain = tf.constant(domains if len(set(domains)) > 1 else 2)
        upstream = np.random.default_rng(4).normal(size=z.shape)

        def value(z, domains=domains, upstream=upstream):
            _, fresh = make()
            return (fresh.train(z, domains) * upstream).sum()

        inputs = tf.constant(z)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            target = tf.reduce_sum(
                layer(inputs, domain, training=True) * tf.constant(upstream, tf.float32)
            )
        found = tf.convert_to_tensor(tape.gradient(target, inputs)).numpy()
        expected = np.zeros_like(found, np.float64)
        for i in np.ndindex(*z.shape):
            step = np.zeros(z.shape)
            step[i] = 1e-4
            expected[i] = (value(z + step) - value(z - step)) / 2e-4
        np.testing.assert_allclose(found, expected, rtol=2e-2, atol=2e-3)

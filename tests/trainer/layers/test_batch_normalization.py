"""WarmUpBatchNormalization against STAR's equations 1 and 2."""

import numpy as np

from tests.trainer import paper
from trainer.keras import tf
from trainer.layers.basic.batch_normalization import WarmUpBatchNormalization


def test_training_and_inference_step_by_step():
    layer = WarmUpBatchNormalization(momentum=0.6, epsilon=1e-3)
    rng = np.random.default_rng(0)
    mean = paper.MovingAverage(3, 0.6, 0.0)
    variance = paper.MovingAverage(3, 0.6, 1.0)
    for size in (10, 10, 4, 10, 2, 10):
        z = (rng.normal(size=(size, 3)) * [1, 5, 0.2] + [0, 3, -1]).astype(np.float32)
        expected = paper.normalize(z, z.mean(axis=0), z.var(axis=0), 1, 0, 1e-3)
        np.testing.assert_allclose(layer(z, training=True), expected, rtol=1e-3, atol=1e-4)
        mean.add(size, z.mean(axis=0))
        variance.add(size, z.var(axis=0, ddof=1))
        np.testing.assert_allclose(
            layer(z),
            paper.normalize(z, mean.value, variance.value, 1, 0, 1e-3),
            rtol=1e-3,
            atol=1e-4,
        )


def test_one_row_uses_the_averages():
    layer = WarmUpBatchNormalization()
    z = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    layer(z, training=True)
    before = [variable.numpy() for variable in layer.variables]
    np.testing.assert_allclose(layer(z[:1], training=True), layer(z[:1]), atol=1e-6)
    for old, new in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(WarmUpBatchNormalization()(z[:1], training=True)).all()


def test_gradient_is_that_of_keras():
    z = tf.constant(np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32))
    gradients = []
    for layer in (WarmUpBatchNormalization(), tf.keras.layers.BatchNormalization()):
        with tf.GradientTape() as tape:
            tape.watch(z)
            target = tf.reduce_sum(layer(z, training=True) ** 3)
        gradients.append(tape.gradient(target, z))
    np.testing.assert_allclose(*gradients, atol=1e-4)

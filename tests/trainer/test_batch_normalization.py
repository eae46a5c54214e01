"""BatchNormalization against STAR's equations 1 and 2."""

import numpy as np
import paper

from trainer.keras import tf
from trainer.layers.batch_normalization import BatchNormalization


def test_training_and_inference_step_by_step():
    layer = BatchNormalization(momentum=0.6, epsilon=1e-3)
    rng = np.random.default_rng(0)
    mean, variance = np.zeros(3), np.ones(3)
    for step in range(6):
        z = (rng.normal(size=(10, 3)) * [1, 5, 0.2] + [0, 3, -1]).astype(np.float32)
        expected = paper.normalize(z, z.mean(axis=0), z.var(axis=0), 1, 0, 1e-3)
        np.testing.assert_allclose(layer(z, training=True), expected, rtol=1e-3, atol=1e-4)
        keep = min(0.6, step / (step + 3))
        mean = keep * mean + (1 - keep) * z.mean(axis=0)
        variance = keep * variance + (1 - keep) * z.var(axis=0)
        np.testing.assert_allclose(layer(z), paper.normalize(z, mean, variance, 1, 0, 1e-3),
                                   rtol=1e-3, atol=1e-4)


def test_one_row_uses_the_averages():
    layer = BatchNormalization()
    z = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    layer(z, training=True)
    before = [variable.numpy() for variable in layer.variables]
    np.testing.assert_allclose(layer(z[:1], training=True), layer(z[:1]), atol=1e-6)
    for old, new in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(BatchNormalization()(z[:1], training=True)).all()


def test_gradient_is_that_of_keras():
    z = tf.constant(np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32))
    gradients = []
    for layer in (BatchNormalization(), tf.keras.layers.BatchNormalization()):
        with tf.GradientTape() as tape:
            tape.watch(z)
            target = tf.reduce_sum(layer(z, training=True)**3)
        gradients.append(tape.gradient(target, z))
    np.testing.assert_allclose(*gradients, atol=1e-4)

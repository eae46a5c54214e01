"""Layers against NumPy: losses, gradients by finite differences, and training steps."""

import numpy as np

from trainer.keras import tf


def randomize(layer, seed=0, scale=0.7):
    """Moves every trainable variable away from its initial value."""
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * scale)


def gradients(loss, arrays, step=1e-6):
    """Central differences of `loss(arrays)` in every entry of every array."""
    found = []
    for place, array in enumerate(arrays):
        slope = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            sides = []
            for sign in (1, -1):
                moved = [each.copy() for each in arrays]
                moved[place][index] += sign * step
                sides.append(loss(moved))
            slope[index] = (sides[0] - sides[1]) / (2 * step)
        found.append(slope)
    return found


def check_training(variables, layer_loss, paper_loss, batches, rate=0.1, steps_reversed=None):
    """Trains both by gradient descent on the same batches and compares all along the way.

    Args:
        variables: of the layer, in the order of `paper_loss`'s arrays.
        layer_loss: of one batch, with TensorFlow.
        paper_loss: of (arrays, batch), with NumPy; its slopes are taken by differences.
        batches: what both losses take.
        rate: of the descent.
        steps_reversed: the factor of each variable's gradient at each step, where the layer
            reverses some: `steps_reversed(step)` gives one a variable.
    """
    arrays = [variable.numpy().astype(np.float64) for variable in variables]
    for step, batch in enumerate(batches):
        with tf.GradientTape() as tape:
            loss = layer_loss(batch)
        np.testing.assert_allclose(loss, paper_loss(arrays, batch), rtol=1e-4, atol=1e-5)
        found = tape.gradient(loss, variables)
        expected = gradients(lambda moved, batch=batch: paper_loss(moved, batch), arrays)
        if steps_reversed is not None:
            expected = [
                factor * slope
                for factor, slope in zip(steps_reversed(step), expected, strict=True)
            ]
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            one = np.zeros_like(other) if one is None else tf.convert_to_tensor(one).numpy()
            np.testing.assert_allclose(
                one, other, rtol=2e-3, atol=2e-4, err_msg=variables[place].name
            )
            variables[place].assign_sub(rate * one)
            arrays[place] -= rate * other
    for variable, array in zip(variables, arrays, strict=True):
        np.testing.assert_allclose(variable, array, rtol=1e-3, atol=1e-4)


def batches(inputs, num_domains=4, seed=3):
    """Three batches (x, domains as ids a row, what to pass as `domain`): mixed without domain
    2, all of domain 1, and mixed again."""
    rng = np.random.default_rng(seed)
    made = []
    for domains in ([3, 1, 3, 1, 1], [1, 1, 1], [2, 3, 1, 2]):
        domains = np.array(domains) % num_domains
        x = rng.normal(size=(len(domains), inputs)).astype(np.float32)
        single = len(set(domains)) == 1
        made.append((x, domains, tf.constant(domains[0] if single else domains)))
    return made


def relu(values):
    return np.maximum(values, 0)


def softmax(values):
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def weigh(outputs, seed=4):
    """A scalar that depends on every output of each row, in NumPy or TensorFlow."""
    factors = np.random.default_rng(seed).normal(size=outputs.shape)
    if isinstance(outputs, np.ndarray):
        return np.sum(factors * np.sin(outputs))
    return tf.reduce_sum(tf.constant(factors, outputs.dtype) * tf.sin(outputs))

"""Normalization and the dense layers at it in one, against the two by NumPy and one by one."""

import numpy as np
import pytest
from numeric import check_training, weigh
from trainer_dataset import make_batch, make_manifest

from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.layers.domain_rows import DomainRows
from trainer.layers.normalize import Dense, normalize, normalized_dense
from trainer.models import build_model
from trainer.step import loss_of

INPUTS, UNITS, BESIDE, EPSILON = 3, 4, 2, 1e-3
MEAN, VARIANCE = np.array([[0.3, -0.2, 1.0]]), np.array([[0.5, 2.0, 1.5]])
SHAPES = [(1, INPUTS), (1, INPUTS), (INPUTS, UNITS), (1, UNITS), (INPUTS, BESIDE), (1, BESIDE)]


def make_variables(rows, seed=0):
    """The rows themselves, gamma, beta, and two kernels with their biases."""
    rng = np.random.default_rng(seed)
    return [tf.Variable(rng.normal(size=shape) + 0.3, dtype=tf.float32)
            for shape in [(rows, INPUTS), *SHAPES]]


def at_once(values, gamma, beta, kernel, bias, beside_kernel, beside_bias):
    averages = tuple(tf.constant(each, tf.float32) for each in (MEAN, VARIANCE))
    return normalized_dense(values, gamma, beta, Dense(kernel, bias),
                            Dense(beside_kernel, beside_bias), DomainRows(tf.constant(1), 3),
                            averages, EPSILON)


def one_by_one(values, gamma, beta, kernel, bias, beside_kernel, beside_bias):
    averages = tuple(tf.constant(each, tf.float32) for each in (MEAN, VARIANCE))
    outputs, mean, variance = normalize(values, gamma, beta, DomainRows(tf.constant(1), 3),
                                        averages, EPSILON)
    return (tf.matmul(outputs, kernel) + bias, tf.matmul(values, beside_kernel) + beside_bias,
            mean, variance)


def by_hand(arrays):
    values, gamma, beta, kernel, bias, beside_kernel, beside_bias = arrays
    few = len(values) < 2
    mean = MEAN if few else values.mean(axis=0)
    variance = VARIANCE if few else values.var(axis=0)
    normalized = gamma * (values - mean) / np.sqrt(variance + EPSILON) + beta
    return normalized @ kernel + bias, values @ beside_kernel + beside_bias


@pytest.mark.parametrize('rows', [7, 2, 1])
def test_outputs_and_every_gradient(rows):
    def loss(outputs, beside):
        return weigh(outputs) + weigh(beside, seed=5)
    variables = make_variables(rows)
    check_training(variables, lambda _: loss(*at_once(*variables)[:2]),
                   lambda arrays, _: loss(*by_hand(arrays)), [None, None], rate=0.01)


def test_moments_of_few_rows_are_their_own():
    for rows in (1, 5):
        variables = make_variables(rows)
        for one, other in zip(at_once(*variables), one_by_one(*variables), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize('rows', [6, 1])
def test_gradients_of_gradients(rows):
    def second(call):
        variables = make_variables(rows)
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                outputs, beside = call(*variables)[:2]
                loss = weigh(outputs) + weigh(beside, seed=5)
            first = inner.gradient(loss, variables)
            norm = sum(tf.reduce_sum(tf.square(each)) for each in first)
        return outer.gradient(norm, variables)
    for one, other in zip(second(at_once), second(one_by_one), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('hidden_units', [[8, 4], []])
@pytest.mark.parametrize('size', [40, 1])
def test_star_trains_alike_with_the_domain_of_the_batch_and_of_each_row(hidden_units, size):
    """Of each row, layers compute one after another."""
    keras.utils.set_random_seed(1)
    config = ModelConfig('star', embedding_dim=4, hidden_units=hidden_units)
    models = [build_model(make_manifest(3), config) for _ in range(2)]
    rng = np.random.default_rng(2)
    start = [rng.normal(size=variable.shape, scale=0.5) for variable in models[0].variables]
    for model in models:
        for variable, values in zip(model.variables, start, strict=True):
            variable.assign(np.abs(values) if 'moving' in variable.name else values)
    rows = {name: tf.constant(values) for name, values in make_batch(rng, size).items()}
    click = tf.constant(rng.integers(0, 2, size), tf.float32)
    found = []
    for model, domain in zip(models, (tf.constant(2), tf.fill([size], 2)), strict=True):
        with tf.GradientTape() as tape:
            loss = loss_of(model, {**rows, 'domain': domain}, click)
        found.append((loss, tape.gradient(loss, model.trainable_variables)))
    (loss, gradients), (other_loss, other_gradients) = found
    np.testing.assert_allclose(loss, other_loss, rtol=1e-5)
    for variable, one, other in zip(models[0].trainable_variables, gradients, other_gradients,
                                    strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other),
                                   rtol=1e-3, atol=2e-5, err_msg=variable.name)
    for one, other in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=one.name)

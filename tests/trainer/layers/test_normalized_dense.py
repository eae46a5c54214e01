"""Normalization and the layer after it in one product, against NumPy and against the two."""

import numpy as np
import pytest

from tests.trainer.numeric import check_training, randomize, weigh
from tests.trainer.trainer_dataset import make_batch, make_manifest
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.normalized_dense import normalized_dense
from trainer.layers.domain.partitioned_normalization import PartitionedNormalization
from trainer.layers.domain.star_dense import StarDense
from trainer.loop.step import loss_of
from trainer.models import build_model

INPUTS, UNITS, EPSILON = 3, 4, 1e-3
MEAN, VARIANCE = np.array([0.3, -0.2, 1.0]), np.array([0.5, 2.0, 1.5])


def make_layers(seed=0):
    normalization = PartitionedNormalization(3, epsilon=EPSILON)
    dense = StarDense(UNITS, 3)
    for layer in (normalization, dense):
        layer.build(tf.TensorShape([None, INPUTS]))
        randomize(layer, seed)
    normalization.moving_mean.assign([MEAN] * 3)
    normalization.moving_variance.assign([VARIANCE] * 3)
    normalization.moving_count.assign([9.0] * 3)
    return normalization, dense


def at_once(rows, layers):
    return normalized_dense(rows, *layers, DomainBatch(tf.constant(1), 3))


def one_by_one(rows, layers):
    normalization, dense = layers
    return dense(normalization(rows, tf.constant(1), training=True), tf.constant(1))


def by_hand(arrays):
    rows, gamma, beta, domain_gamma, domain_beta, kernel, bias, domain_kernel, domain_bias = (
        arrays
    )
    few = len(rows) < 2
    mean = MEAN if few else rows.mean(axis=0)
    variance = VARIANCE if few else rows.var(axis=0)
    normalized = gamma * domain_gamma[1] * (rows - mean) / np.sqrt(variance + EPSILON)
    normalized = normalized + beta + domain_beta[1]
    return normalized @ (kernel * domain_kernel[1]) + bias + domain_bias[1]


@pytest.mark.parametrize('rows', [7, 2, 1])
def test_outputs_and_every_gradient(rows):
    layers = make_layers()
    values = tf.Variable(np.random.default_rng(1).normal(size=(rows, INPUTS)), dtype=tf.float32)
    check_training(
        [values, *layers[0].trainable_variables, *layers[1].trainable_variables],
        lambda _: weigh(at_once(values, layers)),
        lambda arrays, _: weigh(by_hand(arrays)),
        [None, None],
        rate=0.01,
    )


@pytest.mark.parametrize('rows', [7, 2, 1])
def test_averages_move_as_with_the_two_layers(rows):
    values = tf.constant(np.random.default_rng(1).normal(size=(rows, INPUTS)), tf.float32)
    layers, others = make_layers(), make_layers()
    at_once(values, layers)
    one_by_one(values, others)
    for variable, other in zip(
        layers[0].non_trainable_variables, others[0].non_trainable_variables, strict=True
    ):
        np.testing.assert_allclose(variable, other, atol=1e-5, err_msg=variable.name)


@pytest.mark.parametrize('rows', [6, 1])
def test_gradients_of_gradients(rows):
    def second(call):
        layers = make_layers()
        values = tf.Variable(
            np.random.default_rng(1).normal(size=(rows, INPUTS)), dtype=tf.float32
        )
        variables = [values, *layers[0].trainable_variables, *layers[1].trainable_variables]
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = weigh(call(values, layers)) ** 2
            gradients = inner.gradient(loss, variables)
            norm = sum(
                tf.reduce_sum(tf.square(tf.convert_to_tensor(gradient)))
                for gradient in gradients
            )
        return outer.gradient(norm, variables)

    for variable, other in zip(second(at_once), second(one_by_one), strict=True):
        np.testing.assert_allclose(
            tf.convert_to_tensor(variable), tf.convert_to_tensor(other), rtol=2e-3, atol=2e-3
        )


@pytest.mark.parametrize('hidden_units', [[8, 4], []])
@pytest.mark.parametrize('size', [40, 1])
def test_star_trains_alike_with_the_domain_of_the_batch_and_of_each_row(hidden_units, size):
    """With a domain for each row, the layers compute one after another."""
    keras.utils.set_random_seed(1)
    config = ModelConfig(name='star', embedding_dim=4, hidden_units=hidden_units)
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
    for variable, one, other in zip(
        models[0].trainable_variables, gradients, other_gradients, strict=True
    ):
        np.testing.assert_allclose(
            tf.convert_to_tensor(one),
            tf.convert_to_tensor(other),
            rtol=1e-3,
            atol=2e-5,
            err_msg=variable.name,
        )
    for one, other in zip(models[0].variables, models[1].variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5, err_msg=one.name)

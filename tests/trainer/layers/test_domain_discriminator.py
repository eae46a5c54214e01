"""DomainDiscriminator: its loss, its reversed gradient and its schedule, in NumPy."""

import numpy as np
import pytest

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.basic.gradient_reversal import reverse_gradient
from trainer.layers.domain.domain_discriminator import DomainDiscriminator

DOMAINS, INPUTS = 4, 3


def make(**kwargs):
    layer = DomainDiscriminator(DOMAINS, [4], **kwargs)
    layer.build(tf.TensorShape([None, INPUTS]))
    numeric.randomize(layer)
    return layer


def paper(arrays, x, domains):
    shared, kernel, bias, classes, class_bias = arrays
    losses = []
    for row, p in zip(x @ shared, domains, strict=True):
        hidden = numeric.relu(row @ kernel + bias)
        shares = numeric.softmax(
            np.array([classes[q] @ hidden + class_bias[q] for q in range(1, DOMAINS)])
        )
        losses.append(-np.log(shares[p - 1]))
    return np.mean(losses)


def schedule(step, strength, ramp_steps):
    return strength * (2 / (1 + np.exp(-10 * step / ramp_steps)) - 1)


def test_loss_gradients_and_steps():
    """The discriminator descends L_D, and what comes before it ascends lambda(s) L_D."""
    layer = make(strength=0.8, ramp_steps=6)
    shared = tf.Variable(
        np.random.default_rng(7).normal(size=(INPUTS, INPUTS)), dtype='float32'
    )
    variables = [
        shared,
        layer.hidden[0].kernel,
        layer.hidden[0].bias,
        layer.domain_kernel,
        layer.domain_bias,
    ]
    batches = numeric.batches(INPUTS) * 2
    numeric.check_training(
        variables,
        lambda batch: layer(tf.matmul(batch[0], shared), batch[2], training=True),
        lambda arrays, batch: paper(arrays, batch[0], batch[1]),
        batches,
        steps_reversed=lambda step: [-schedule(step, 0.8, 6), 1, 1, 1, 1],
    )
    assert layer.steps.numpy() == len(batches)
    assert float(layer.reversal_strength()) == pytest.approx(
        schedule(len(batches), 0.8, 6), rel=1e-5
    )


def test_the_loss_is_added_in_training_alone():
    layer = make()
    x, _, given = numeric.batches(INPUTS)[0]
    assert float(layer(x, given)) == 0
    assert layer.losses == [] and layer.steps.numpy() == 0
    loss = layer(x, given, training=True)
    assert [float(each) for each in layer.losses] == [pytest.approx(float(loss))]


def test_rows_of_an_unseen_domain_have_no_class():
    layer = make()
    x = np.random.default_rng(0).normal(size=(4, INPUTS)).astype(np.float32)
    seen = layer(x[[1, 3]], tf.constant([2, 1]), training=True)
    np.testing.assert_allclose(
        layer(x, tf.constant([0, 2, 9, 1]), training=True), seen, rtol=1e-5
    )
    assert float(layer(x, tf.constant(0), training=True)) == 0


def test_one_domain_has_nothing_to_tell_apart():
    layer = DomainDiscriminator(1)
    assert float(layer(np.ones((2, 3), np.float32), tf.constant(0), training=True)) == 0


def test_reverse_gradient_keeps_values_and_negates_gradients():
    x = tf.Variable([1.0, -2.0])
    with tf.GradientTape() as tape:
        target = tf.reduce_sum(reverse_gradient(x, 0.3) ** 2)
    assert float(target) == 5.0
    np.testing.assert_allclose(tape.gradient(target, x), [-0.6, 1.2], rtol=1e-6)


@pytest.mark.parametrize(('strength', 'least', 'most'), [(0.0, 0.49, 0.51), (2.0, 0.0, 0.35)])
def test_the_adversary_hides_the_domain(strength, least, most):
    """h(x) = w x fits signal + domain / 2; the adversary takes from the domain's share."""
    rng = np.random.default_rng(0)
    layer = DomainDiscriminator(3, [], strength=strength, ramp_steps=20)
    layer.build(tf.TensorShape([None, 1]))
    mixture = tf.Variable([[0.5], [0.25]])
    variables = [mixture, *layer.trainable_variables]

    @tf.function(autograph=False)
    def step(x, domains, target):
        with tf.GradientTape() as tape:
            hidden = tf.matmul(x, mixture)
            loss = tf.reduce_mean(tf.square(hidden[:, 0] - target)) + layer(
                hidden, domains, training=True
            )
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(0.05 * tf.convert_to_tensor(gradient))

    for _ in range(300):
        domains = rng.integers(1, 3, 64)
        x = np.stack([rng.choice([-1.0, 1.0], 64), np.where(domains == 1, 1.0, -1.0)], axis=1)
        step(
            tf.constant(x, tf.float32),
            tf.constant(domains),
            tf.constant(x @ [1.0, 0.5], tf.float32),
        )
    signal, domain = mixture.numpy()[:, 0]
    assert signal > 0.9
    assert least < domain < most


def test_config_round_trip():
    layer = DomainDiscriminator(DOMAINS, [5, 6], strength=0.3, ramp_steps=7)
    assert (
        DomainDiscriminator.from_config(layer.get_config()).get_config() == layer.get_config()
    )

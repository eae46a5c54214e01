"""DomainScale against its formula."""

import numpy as np

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.domain.domain_scale import DomainScale

DOMAINS, UNITS = 4, 3


def test_outputs_gradients_and_steps():
    layer = DomainScale(DOMAINS)
    layer.build(tf.TensorShape([None, UNITS]))
    numeric.randomize(layer)
    numeric.check_training(
        [layer.domain_scale, layer.domain_shift],
        lambda batch: numeric.weigh(layer(batch[0], batch[2], training=True)),
        lambda arrays, batch: numeric.weigh(
            np.stack(
                [
                    row * arrays[0][p] + arrays[1][p]
                    for row, p in zip(batch[0], batch[1], strict=True)
                ]
            )
        ),
        numeric.batches(UNITS),
    )


def test_an_unseen_domain_has_the_mean_of_the_weights_folded_or_not():
    layer = DomainScale(DOMAINS)
    layer.build(tf.TensorShape([None, UNITS]))
    numeric.randomize(layer)
    x = np.random.default_rng(0).normal(size=(5, UNITS)).astype(np.float32)
    domains = tf.constant([0, 1, -1, 2, DOMAINS])
    mixed = layer(x, domains).numpy()
    scale, shift = (
        variable.numpy()[1:].mean(axis=0)
        for variable in (layer.domain_scale, layer.domain_shift)
    )
    unseen = [0, 2, 4]
    np.testing.assert_allclose(mixed[unseen], x[unseen] * scale + shift, atol=1e-6)
    np.testing.assert_allclose(layer(x, tf.constant(0)), x * scale + shift, atol=1e-6)
    layer.fold()
    np.testing.assert_allclose(layer(x, domains), mixed, atol=1e-6)

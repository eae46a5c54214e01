"""The auxiliary network against STAR's equation 7, and random numbers that resume."""

import numpy as np

from trainer.keras import tf
from trainer.layers.basic.dropout import ResumableDropout
from trainer.layers.domain.auxiliary_network import AuxiliaryNetwork


def test_two_layers_over_the_concatenation():
    layer = AuxiliaryNetwork(4, units=5, embedding_dim=3)
    layer.build(tf.TensorShape([None, 6]))
    rng = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(rng.normal(size=variable.shape))
    x, domains = rng.normal(size=(9, 6)).astype(np.float32), rng.integers(0, 4, 9)
    together = np.concatenate([layer.domain_embedding.numpy()[domains], x], axis=1)
    hidden = np.maximum(together @ layer.hidden_kernel.numpy() + layer.hidden_bias.numpy(), 0)
    expected = hidden @ layer.output_kernel.numpy() + layer.output_bias.numpy()
    np.testing.assert_allclose(layer(x, tf.constant(domains)), expected, atol=1e-5)
    for p in range(4):
        np.testing.assert_allclose(
            layer(x[domains == p], tf.constant(p)), expected[domains == p], atol=1e-5
        )
    layer.fold()
    np.testing.assert_allclose(layer(x, tf.constant(domains)), expected, atol=1e-5)
    layer.domain_embedding.assign(layer.domain_embedding * 2)  # what is folded is a copy
    np.testing.assert_allclose(layer(x, tf.constant(domains)), expected, atol=1e-5)
    layer.unfold()
    assert np.abs(layer(x, tf.constant(domains)) - expected).max() > 0.01


def test_the_unseen_domain_starts_at_zero():
    layer = AuxiliaryNetwork(4)
    layer.build(tf.TensorShape([None, 6]))
    assert not layer.domain_embedding.numpy()[0].any()
    assert layer.domain_embedding.numpy()[1:].all()


def test_dropout_drops_its_share_and_repeats_from_its_state():
    layer = ResumableDropout(0.25, seed=3)
    x = tf.ones([400, 50])
    first = layer(x, training=True).numpy()
    np.testing.assert_allclose(np.unique(first), [0, 4 / 3], rtol=1e-6)
    assert abs((first == 0).mean() - 0.25) < 0.01
    state = [variable.numpy() for variable in layer.variables]
    second = layer(x, training=True).numpy()
    assert (first != second).any()
    again = ResumableDropout(0.25, seed=3)
    again(x, training=True)
    again.set_weights(state)
    np.testing.assert_array_equal(again(x, training=True), second)
    np.testing.assert_array_equal(layer(x), x)

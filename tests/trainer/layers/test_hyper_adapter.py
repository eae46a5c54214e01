"""HyperAdapter: its gradients, and the same rows alone and in batches of mixed domains."""

import numpy as np
import pytest

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.experts.hyper_adapter import HyperAdapter

DOMAINS, WIDTH, RANK = 4, 3, 2


@pytest.fixture()
def layer():
    layer = HyperAdapter(DOMAINS, units=2)
    layer((tf.ones([1, WIDTH]), tf.ones([1, RANK, RANK])), tf.constant([1]))
    numeric.randomize(layer)
    return layer


def paper(x, matrices, arrays):
    """Before the normalization, at whose initial averages, 0 and 1, it is the identity."""
    u1, v1, u2, v2, b1, b2 = arrays
    outputs = []
    for h, matrix in zip(x, matrices, strict=True):
        a = 1 / (1 + np.exp(-((u1 @ matrix @ v1).T @ h + b1)))
        outputs.append(h + ((u2 @ matrix @ v2).T @ a + b2) / np.sqrt(1.001))
    return np.stack(outputs)


def test_outputs_gradients_and_steps(layer):
    norm = layer.normalization
    for variable in (norm.gamma, norm.domain_gamma):
        variable.assign(tf.ones_like(variable))
    for variable in (norm.beta, norm.domain_beta):
        variable.assign(tf.zeros_like(variable))
    matrices = np.random.default_rng(5).normal(size=(5, RANK, RANK)).astype(np.float32)

    def loss(batch):
        x, _, domain = batch
        return numeric.weigh(layer((tf.constant(x), tf.constant(matrices[: len(x)])), domain))

    numeric.check_training(
        [*layer.factors, layer.down_bias, layer.up_bias],
        loss,
        lambda arrays, batch: numeric.weigh(paper(batch[0], matrices[: len(batch[0])], arrays)),
        numeric.batches(WIDTH),
    )


def test_one_domain_and_mixed_batches_give_the_same_rows(layer):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, WIDTH)).astype(np.float32)
    matrices = rng.normal(size=(12, RANK, RANK)).astype(np.float32)
    domains = np.arange(12, dtype=np.int32) % (DOMAINS + 1)  # the last one is unseen, too
    layer((x, matrices), tf.constant(domains), training=True)  # moves the averages
    mixed = layer((x, matrices), tf.constant(domains)).numpy()
    for p in range(DOMAINS + 1):
        here = domains == p
        np.testing.assert_allclose(
            layer((x[here], matrices[here]), tf.constant(p)), mixed[here], atol=1e-5
        )
    layer.normalization.fold()
    np.testing.assert_allclose(layer((x, matrices), tf.constant(domains)), mixed, atol=1e-5)
    again = HyperAdapter.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()

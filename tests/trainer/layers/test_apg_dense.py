"""APGDense against its definition (Yan et al. 2022)."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.domain.apg_dense import APGDense
from trainer.layers.domain.domain_batch import DomainBatch

INPUTS, UNITS, RANK, DIM, DOMAINS = 5, 4, 3, 2, 4
NAMES = ('inner', 'outer', 'core_kernel', 'core_bias', 'bias')


def make(activation='tanh'):
    layer = APGDense(UNITS, RANK, activation)
    layer.build((tf.TensorShape([None, INPUTS]), tf.TensorShape([None, DIM])))
    numeric.randomize(layer)
    return layer


def paper(arrays, x, vectors):
    """y = phi(U S V x + b), with the generated matrix W = U S V of each row multiplied out."""
    inner, outer, core_kernel, core_bias, bias = arrays
    outputs = []
    for row, z in zip(x, vectors, strict=True):
        core = (z @ core_kernel + core_bias).reshape(RANK, RANK)
        outputs.append(np.tanh(row @ (inner @ core @ outer) + bias))
    return np.stack(outputs)


@pytest.mark.parametrize('by_domain', [True, False])
def test_outputs_and_training_equal_numpy(by_domain):
    layer, table = make(), np.random.default_rng(5).normal(size=(DOMAINS, DIM))

    def run(batch):
        x, domains, domain = batch
        if not by_domain:
            return numeric.weigh(layer((x, table[domains].astype(np.float32)), None))
        rows = DomainBatch(domain, DOMAINS)
        vectors = rows.gather(tf.constant(table, tf.float32))
        return numeric.weigh(rows.unsort(layer((rows.sort(tf.constant(x)), vectors), rows)))

    numeric.check_training(
        [getattr(layer, name) for name in NAMES],
        run,
        lambda arrays, batch: numeric.weigh(paper(arrays, batch[0], table[batch[1]])),
        numeric.batches(INPUTS, DOMAINS),
        rate=0.05,
    )


def test_starts_as_the_shared_low_rank_layer_and_an_unseen_domain_keeps_it():
    layer = APGDense(UNITS, RANK)
    x = np.random.default_rng(0).normal(size=(6, INPUTS)).astype(np.float32)
    rows = DomainBatch(tf.constant(0), DOMAINS)
    outputs = layer((x, tf.zeros([1, DIM])), rows)
    assert_allclose(outputs, x @ layer.inner.numpy() @ layer.outer.numpy(), atol=1e-5)


def test_rank_is_no_more_than_the_narrower_side():
    layer = APGDense(2, 32)
    layer((np.ones((1, INPUTS), np.float32), np.ones((1, DIM), np.float32)), None)
    assert layer.inner.shape == (INPUTS, 2)
    again = APGDense.from_config(layer.get_config())
    assert (again.units, again.rank) == (2, 32)

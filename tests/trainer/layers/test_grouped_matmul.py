"""Products of groups of rows with a matrix each, few groups and many, against NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from trainer.keras import tf
from trainer.layers.domain import chunked_matmul
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.grouped_matmul import UNROLLED_GROUPS, grouped_matmul
from trainer.layers.domain.star_dense import StarDense

INPUTS, UNITS = 4, 3


@pytest.mark.parametrize('max_groups', [UNROLLED_GROUPS, UNROLLED_GROUPS + 1])
@pytest.mark.parametrize('with_factor', [True, False])
@pytest.mark.parametrize('counts', [[5, 3, 3, 1, 0], [1], [0], [2] * 20])
def test_products_and_gradients(max_groups, with_factor, counts):
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(len(counts)), counts)
    rows, upstream = rng.normal(size=(len(group), INPUTS)), rng.normal(size=(len(group), UNITS))
    weights = rng.normal(size=(len(counts), INPUTS, UNITS))
    factor = rng.normal(size=(INPUTS, UNITS)) if with_factor else np.ones((INPUTS, UNITS))
    inputs = [tf.constant(each, tf.float32) for each in (rows, weights, factor)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = grouped_matmul(
            *inputs[:2],
            tf.constant(counts, tf.int32),
            max_groups,
            inputs[2] if with_factor else None,
        )
        loss = tf.reduce_sum(outputs * tf.constant(upstream, tf.float32))
    kernels = weights * factor
    assert_allclose(outputs, np.einsum('bi,bio->bo', rows, kernels[group]), atol=1e-6)
    of_kernels = np.zeros_like(weights)
    np.add.at(of_kernels, group, rows[:, :, None] * upstream[:, None, :])
    expected = [
        np.einsum('bo,bio->bi', upstream, kernels[group]),
        of_kernels * factor,
        (of_kernels * weights).sum(axis=0),
    ]
    for found, right in zip(tape.gradient(loss, inputs), expected, strict=True):
        if found is not None:
            assert_allclose(found, right, rtol=1e-5, atol=1e-5)


def test_domains_of_large_batches_of_many_domains_are_ordered_by_size():
    domains = DomainBatch(tf.constant([7, 5, 3, 5, 3, 5]), UNROLLED_GROUPS + 1)
    assert domains.present_domains.numpy().tolist() == [5, 3, 7]
    assert domains.domain.numpy().tolist() == [5, 5, 5, 3, 3, 7]
    rows = tf.constant([70, 50, 30, 51, 31, 52])
    assert domains.sort(rows).numpy().tolist() == [50, 51, 52, 30, 31, 70]
    assert domains.unsort(domains.sort(rows)).numpy().tolist() == rows.numpy().tolist()


@pytest.mark.parametrize('chunk', [1, 16])
def test_many_domains_with_a_long_tail_of_sizes(chunk, monkeypatch):
    monkeypatch.setattr(chunked_matmul, 'CHUNK_GROUPS', chunk)
    rng = np.random.default_rng(1)
    number = 100
    layer = StarDense(UNITS, number, activation='relu')
    layer.build(tf.TensorShape([None, INPUTS]))
    for variable in layer.variables:
        variable.assign(rng.normal(size=variable.shape))
    domain = np.minimum(rng.zipf(1.3, 300), number - 1)
    x = rng.normal(size=(300, INPUTS)).astype(np.float32)
    score = tf.function(
        lambda x, domain: layer(x, domain),
        autograph=False,
        input_signature=[tf.TensorSpec([None, INPUTS]), tf.TensorSpec([None], tf.int32)],
    )
    kernels = layer.kernel.numpy() * layer.domain_kernel.numpy()[domain]
    biases = layer.bias.numpy() + layer.domain_bias.numpy()[domain]
    expected = np.maximum(np.einsum('bi,bio->bo', x, kernels) + biases, 0)
    assert_allclose(score(x, tf.constant(domain, tf.int32)), expected, atol=1e-5)
    assert score(x[:0], tf.zeros([0], tf.int32)).shape == (0, UNITS)

"""OtherDomains and DomainAttention against weighted sums over the other domains."""

import numpy as np
import pytest

from tests.trainer import numeric
from trainer.keras import tf
from trainer.layers.experts.other_domains import DomainAttention, OtherDomains
from trainer.models.extend_model import copy_weights

DOMAINS, UNITS = 4, 2


def make(layer):
    layer.build(tf.TensorShape([None, layer.num_domains, UNITS]))
    numeric.randomize(layer)
    return layer


def shares(layer, p):
    """Weight of each domain for a row of domain p."""
    others = [m for m in range(1, layer.num_domains) if m != p]
    weights = np.zeros(layer.num_domains)
    if not others:
        return weights
    weights[others] = 1 / len(others)
    if isinstance(layer, DomainAttention):
        logits = layer.domain_key.numpy() @ layer.domain_embedding.numpy()[p]
        weights[others] = numeric.softmax((logits + layer.domain_key_bias.numpy())[others])
    return weights


@pytest.mark.parametrize(
    'layer',
    [
        OtherDomains(DOMAINS),
        OtherDomains(2),
        OtherDomains(1),
        DomainAttention(DOMAINS, 3),
        DomainAttention(2, 3),
        DomainAttention(1, 3),
    ],
)
def test_outputs_equal_numpy(layer):
    make(layer)
    count = layer.num_domains
    x = np.random.default_rng(0).normal(size=(6, count, UNITS)).astype(np.float32)
    domains = np.arange(6, dtype=np.int32) % count
    expected = [shares(layer, p) @ row for p, row in zip(domains, x, strict=True)]
    np.testing.assert_allclose(layer(x, domains), expected, atol=1e-5)
    for p in range(count):
        np.testing.assert_allclose(
            layer(x[domains == p], tf.constant(p)), np.array(expected)[domains == p], atol=1e-5
        )
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize('kind', [OtherDomains, lambda n: DomainAttention(n, 3)])
def test_an_added_domain_reads_those_before_it_and_no_other_domain_reads_it(kind):
    layer, larger = make(kind(DOMAINS)), make(kind(DOMAINS + 2))
    copy_weights(larger, layer)
    outputs = np.random.default_rng(0).normal(size=(1, DOMAINS + 2, UNITS))
    outputs = outputs.astype(np.float32)
    moved = outputs.copy()
    moved[:, DOMAINS:] += 1.0  # of the added domains
    for p in range(DOMAINS + 2):
        found = larger(outputs, tf.constant(p))
        np.testing.assert_array_equal(found, larger(moved, tf.constant(p)))
        before = layer(outputs[:, :DOMAINS], tf.constant(p if p < DOMAINS else 0))
        np.testing.assert_allclose(found, before, atol=1e-6)

"""Serving without what is pruned: the same scores as with it."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.trainer.models import test_adasparse
from tests.trainer.random_model import random_batch
from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.pruning.packed_network import PackedNetwork

SIZES, DOMAINS = (5, 7, 4, 1), 3


@pytest.mark.parametrize('shared', [True, False])
def test_against_the_masked_network(shared):
    rng = np.random.default_rng(0)
    shapes = list(itertools.pairwise(SIZES))
    count = 1 if shared else DOMAINS
    kernels = [rng.normal(size=(count, *shape)) for shape in shapes]
    biases = [rng.normal(size=(count, units)) for _, units in shapes]
    factors = [
        rng.random((DOMAINS, size)) * (rng.random((DOMAINS, size)) > 0.4) for size in SIZES[:-1]
    ]
    factors[1][2] = 0  # a domain of which a layer keeps nothing
    network = PackedNetwork(kernels, biases, factors, 'tanh')
    x, domains = rng.normal(size=(20, SIZES[0])), rng.integers(0, DOMAINS, 20)
    expected = []
    for row, p in zip(x, domains, strict=True):
        h = row
        for place, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            own = 0 if shared else p
            h = (h * factors[place][p]) @ kernel[own] + bias[own]
            h = np.tanh(h) if place + 1 < len(kernels) else h
        expected.append(h)
    rows = DomainBatch(tf.constant(domains), DOMAINS)
    found = rows.unsort(network(rows.sort(tf.constant(x, tf.float32)), rows))
    assert_allclose(found, expected, atol=1e-5)
    most = [max(int((each > 0).sum(axis=1).max()), 1) for each in factors]
    products = SIZES[0] * most[1] + most[1] * most[2] + most[2]
    assert network.cost_ratio(SIZES) == pytest.approx(products / (5 * 7 + 7 * 4 + 4))


@pytest.mark.parametrize('name', ['adasparse', 'star_adasparse'])
def test_an_export_that_skips_gives_the_scores_of_training(name, monkeypatch):
    model = test_adasparse.make(
        name, pruner_inputs='domain', formulation='binarization', normalization='pn'
    )
    model.schedule.alpha.assign(5.0)
    features = [
        random_batch(),
        random_batch(domain=2),
        random_batch(domain=0),
    ]
    before = [model(each).numpy() for each in features]
    monkeypatch.setattr(type(model), 'PACK_BELOW', 1.0)
    for least in (0, 10_000):  # rows a domain from which on it skips: always and never
        monkeypatch.setattr(type(model), 'PACK_ROWS', least)
        model.fold()
        assert model.packed is not None
        for each, expected in zip(features, before, strict=True):
            assert_allclose(model(each), expected, atol=1e-5)
        model.unfold()
        assert model.packed is None


def test_rows_with_factors_of_their_own_are_not_packed():
    for options in (
        {},
        {'pruner_inputs': 'domain', 'domain_aware': ['age']},
        {'pruner_inputs': 'domain', 'formulation': 'scaling'},
    ):
        model = test_adasparse.make(**options)
        model.fold()
        assert model.packed is None  # scaling leaves nothing out

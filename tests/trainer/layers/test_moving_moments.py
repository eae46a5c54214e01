"""Weights of the updates of moving averages."""

import numpy as np

from tests.trainer import paper
from trainer.keras import tf
from trainer.layers.basic.moving_moments import moving_update


def shares(sizes, momentum):
    """Share of each batch's update, and the effective rows after it."""
    rows, found = tf.constant(0.0), []
    for size in sizes:
        share, rows = moving_update(rows, tf.constant(float(size)), momentum)
        found.append((float(share), float(rows)))
    return np.array(found)


def test_equal_batches_have_the_share_of_a_warm_up_and_then_of_the_momentum():
    found = shares([16] * 2000, 0.99)[:, 0]
    np.testing.assert_allclose(found[:190], 3 / (np.arange(190) + 3), rtol=1e-4)
    np.testing.assert_allclose(found[-1], 0.01, rtol=1e-3)


def test_shares_are_those_of_the_weighted_mean():
    sizes = np.random.default_rng(0).integers(2, 50, 40)
    average = paper.MovingAverage(1, 0.9, 0.0)
    for size, (share, rows) in zip(sizes, shares(sizes, 0.9), strict=True):
        average.add(size, np.zeros(1))
        np.testing.assert_allclose(share, average.weights[-1] / average.count, rtol=1e-5)
        np.testing.assert_allclose(rows, average.count, rtol=1e-5)


def test_less_than_two_rows_change_nothing():
    np.testing.assert_array_equal(shares([1, 0], 0.9), [[0, 0], [0, 0]])
    np.testing.assert_array_equal(shares([5, 1, 0], 0.9)[1:], [[0, 5], [0, 5]])

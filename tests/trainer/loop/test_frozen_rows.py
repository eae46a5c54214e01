"""Outputs of rows that are computed once, within a bound."""

import numpy as np

from mdctr.manifest import Feature
from trainer.keras import tf
from trainer.loop.frozen_rows import FrozenRows

FEATURES = [
    Feature('a', 'categorical', 'user', 1000),
    Feature('b', 'sequence', 'user', 1000, length=3),
]


def outputs(ids):
    a, b = (tf.cast(ids[name], tf.float32) for name in ('a', 'b'))
    domain = tf.cast(ids['domain'], tf.float32)
    return {'x': tf.stack([a + 1000 * domain, a], axis=1), 'y': tf.cumsum(b, axis=1)}


def rows_of(a, domain=0):
    a = np.array(a, np.int32)
    return {
        'a': tf.constant(a),
        'b': tf.constant(np.stack([a, -a, 3 * a], axis=1)),
        'domain': tf.constant(domain, tf.int32),
    }


def check(frozen, batch):
    found = frozen(batch)
    expected = outputs(
        {**batch, 'domain': tf.broadcast_to(batch['domain'], tf.shape(batch['a']))}
    )
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_row_is_computed_once_in_whatever_batch_it_comes():
    frozen = FrozenRows(outputs, FEATURES, 1 << 20)
    for batch, computed in (
        (rows_of([1, 2, 3]), 3),
        (rows_of([3, 1]), 3),
        (rows_of([5, 3, 4]), 5),
        (rows_of([1, 2], 7), 7),
        (rows_of([1, 2], [7, 0]), 7),
        (rows_of([]), 7),
        (rows_of(range(1, 900)), 7 + 894),
    ):
        check(frozen, batch)
        assert frozen.computed == computed
    assert {name: tuple(spec.shape) for name, spec in frozen.signature().items()} == {
        'x': (None, 2),
        'y': (None, 3),
    }


def test_memory_is_bounded():
    frozen = FrozenRows(outputs, FEATURES, 10 * 5 * 4)  # ten rows of five numbers
    for _ in range(3):
        check(frozen, rows_of(range(8)))
        check(frozen, rows_of(range(8, 16)))
    assert frozen._kept.shape == (10, 5)
    assert frozen.computed == 16 + 6 + 6

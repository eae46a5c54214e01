"""Updates of a few wide rows at a time against an update of all rows at once."""

import numpy as np
import pytest

from trainer.keras import tf
from trainer.optimizers import row_chunks, row_optimizer
from trainer.optimizers.row_wise import OPTIMIZERS, make_optimizer

ROWS, SHAPE = 50, (32, 40)


@pytest.mark.parametrize('name', list(OPTIMIZERS))
def test_chunks_of_rows_are_updated_as_all_rows_at_once(name, monkeypatch):
    monkeypatch.setattr(row_chunks, 'CHUNK_VALUES', 4 * 32 * 40)
    rng = np.random.default_rng(0)
    initial = rng.normal(size=(ROWS, *SHAPE)).astype(np.float32)
    found = []
    for large in (1, 1 << 40):
        monkeypatch.setattr(row_optimizer, 'LARGE_VARIABLE', large)
        variable = tf.Variable(initial)
        optimizer = make_optimizer(name, 0.01)
        optimizer.build([variable])
        step = tf.function(
            lambda values, rows, optimizer=optimizer, variable=variable: (
                optimizer.apply_gradients([(tf.IndexedSlices(values, rows), variable)])
            ),
            autograph=False,
        )
        for seed, count in enumerate((11, 45, 1, 3)):
            draws = np.random.default_rng(seed)
            rows = tf.constant(draws.permutation(ROWS)[:count], tf.int32)
            step(tf.constant(draws.normal(size=(count, *SHAPE)), tf.float32), rows)
        found.append(variable.numpy())
    assert not np.array_equal(found[0], initial)
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-7)

"""The row-wise optimizers against their rules in NumPy, and against Keras's own."""

import numpy as np
import pytest

from mdctr.errors import UserError
from trainer.keras import keras, tf
from trainer.optimizers import row_optimizer
from trainer.optimizers.row_wise import OPTIMIZERS, make_optimizer

RATE = 0.1


def rule(name, step, w, g, slots):
    """One step in NumPy of a block of values."""
    if name == 'sgd':
        return w - RATE * g, ()
    if name == 'momentum':
        velocity = 0.9 * slots[0] - RATE * g
        return w + velocity, (velocity,)
    if name == 'adagrad':
        accumulator = slots[0] + g**2
        return w - RATE * g / np.sqrt(accumulator + 1e-7), (accumulator,)
    if name == 'rmsprop':
        velocity = 0.9 * slots[0] + 0.1 * g**2
        return w - RATE * g / np.sqrt(velocity + 1e-7), (velocity,)
    m, v = 0.9 * slots[0] + 0.1 * g, 0.999 * slots[1] + 0.001 * g**2
    rate = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    return w - rate * m / (np.sqrt(v) + 1e-7), (m, v)


def start_slots(name, w):
    first = {'adagrad': 0.1}.get(name, 0.0)
    return {'sgd': (), 'adam': (np.zeros_like(w), np.zeros_like(w))}.get(
        name, (np.full_like(w, first),)
    )


@pytest.mark.parametrize('in_graph', [True, False])
@pytest.mark.parametrize('name', OPTIMIZERS)
def test_sparse_steps_move_their_rows_alone(name, in_graph):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(7, 3)).astype(np.float32)
    variable, optimizer = tf.Variable(w), make_optimizer(name, RATE)
    optimizer.build([variable])

    def step(rows, values):
        optimizer.apply_gradients(
            [(tf.IndexedSlices(values, rows, tf.constant([7, 3])), variable)]
        )

    if in_graph:
        step = tf.function(
            step,
            input_signature=[
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, 3], tf.float32),
            ],
        )
    expected, slots = w.astype(np.float64), start_slots(name, w.astype(np.float64))
    for number, rows in enumerate(([1, 4, 1], [4], [2, 2, 2, 1], [0, 6]), 1):
        values = rng.normal(size=(len(rows), 3)).astype(np.float32)
        step(tf.constant(rows), tf.constant(values))
        for row in set(rows):
            summed = values[np.array(rows) == row].sum(axis=0)
            new, new_slots = rule(
                name, number, expected[row], summed, [slot[row] for slot in slots]
            )
            expected[row] = new
            for slot, value in zip(slots, new_slots, strict=True):
                slot[row] = value
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(variable.numpy()[[3, 5]], w[[3, 5]])


@pytest.mark.parametrize('in_graph', [True, False])
def test_wide_rows_move_alone_however_many_there_are(in_graph):
    """Domain weights: with most rows present the whole variable is gone over."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(4, 40, 30)).astype(np.float32)
    variable, optimizer = tf.Variable(w.copy()), make_optimizer('adam', RATE)
    optimizer.build([variable])

    def step(rows, values):
        optimizer.apply_gradients([(tf.IndexedSlices(values, rows), variable)])

    if in_graph:
        step = tf.function(
            step,
            input_signature=[
                tf.TensorSpec([None], tf.int32),
                tf.TensorSpec([None, 40, 30], tf.float32),
            ],
        )
    expected, slots = w.astype(np.float64), start_slots('adam', w.astype(np.float64))
    for number, rows in enumerate(([1, 3, 2], [3], [2, 3], [2, 1, 3], [1, 1, 2, 3]), 1):
        values = rng.normal(size=(len(rows), 40, 30)).astype(np.float32)
        step(tf.constant(rows), tf.constant(values))
        for row in set(rows):
            new, new_slots = rule(
                'adam',
                number,
                expected[row],
                values[np.array(rows) == row].sum(axis=0),
                [slot[row] for slot in slots],
            )
            expected[row] = new
            for slot, value in zip(slots, new_slots, strict=True):
                slot[row] = value
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(variable.numpy()[0], w[0])


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_most_wide_rows_are_updated_like_few(name, monkeypatch):
    """In place or copied out and back, the rows of the gradient are updated, and no others."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(4, 40, 30)).astype(np.float32)
    updates, most_rows = [], row_optimizer.update_most_rows
    monkeypatch.setattr(
        row_optimizer, 'update_most_rows', lambda *args: updates.append(1) or most_rows(*args)
    )
    steps = []
    for wide_row in (row_optimizer.WIDE_ROW, 1 << 20):
        monkeypatch.setattr(row_optimizer, 'WIDE_ROW', wide_row)
        variable, optimizer = tf.Variable(w.copy()), make_optimizer(name, RATE)
        optimizer.build([variable])

        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, 40, 30])]
        )
        def step(rows, values, variable=variable, optimizer=optimizer):
            optimizer.apply_gradients([(tf.IndexedSlices(values, rows), variable)])

        step.get_concrete_function()
        steps.append((step, variable))
    assert len(updates) == 1  # only the first step has the branch
    for rows in ([1, 2, 3], [3], [1, 2], [0, 1, 2, 3], [0, 2, 3]):
        values = rng.normal(size=(len(rows), 40, 30)).astype(np.float32)
        before = steps[0][1].numpy()
        for step, _ in steps:
            step(tf.constant(rows), tf.constant(values))
        np.testing.assert_allclose(steps[0][1], steps[1][1], rtol=1e-5, atol=1e-6)
        updated = (steps[0][1].numpy() != before).any(axis=(1, 2))
        assert np.flatnonzero(updated).tolist() == rows


@pytest.mark.parametrize('rows', [[[2, 0, 2]], [[1], [3], [1]], [[0, 1, 2, 3], [2, 2, 2, 2]]])
def test_wide_rows_with_and_without_duplicates(rows):
    """Domain weights, of which a batch has each row once, skip the summing."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(4, 40, 30)).astype(np.float32)
    variable, optimizer = tf.Variable(w.copy()), make_optimizer('sgd', 1.0)
    for of in rows:
        values = rng.normal(size=(len(of), 40, 30)).astype(np.float32)
        optimizer.apply_gradients([(tf.IndexedSlices(values, tf.constant(of)), variable)])
        np.subtract.at(w, of, values)
    np.testing.assert_allclose(variable, w, atol=1e-5)


@pytest.mark.parametrize(
    ('name', 'keras_optimizer'),
    [
        ('sgd', keras.optimizers.SGD(RATE)),
        ('momentum', keras.optimizers.SGD(RATE, 0.9)),
        ('adam', keras.optimizers.Adam(RATE)),
        ('adagrad', keras.optimizers.Adagrad(RATE)),
        ('rmsprop', keras.optimizers.RMSprop(RATE)),
    ],
)
def test_dense_steps_are_those_of_keras(name, keras_optimizer):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(5, 2)).astype(np.float32)
    one, other = tf.Variable(w), tf.Variable(w)
    ours = make_optimizer(name, RATE)
    for _ in range(4):
        gradient = tf.constant(rng.normal(size=(5, 2)).astype(np.float32))
        ours.apply_gradients([(gradient, one)])
        keras_optimizer.apply_gradients([(gradient, other)])
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_schedule_is_followed():
    variable = tf.Variable([1.0])
    optimizer = make_optimizer(
        'sgd', keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.1])
    )
    for expected in (0.5, 0.4):
        optimizer.apply_gradients([(tf.constant([1.0]), variable)])
        assert float(variable[0]) == pytest.approx(expected)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UserError, match='no optimizer adamm; .*[Tt]here are sgd, momentum, adam'
    ):
        make_optimizer('adamm', 0.1)

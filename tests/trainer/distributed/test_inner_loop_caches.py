"""The caches of embedding rows, against arrays that do what MAMDR's figure 7 says."""

import numpy as np
import pytest

from tests.trainer.trainer_dataset import make_manifest
from trainer.config import ModelConfig
from trainer.distributed import caches as caches_module
from trainer.distributed.caches import Caches, Traffic
from trainer.distributed.rules import UpdateRule
from trainer.distributed.servers import ParameterServers
from trainer.frameworks.core.snapshot import VariableRows
from trainer.keras import keras, tf
from trainer.models import build_model
from trainer.optimizers.row_wise import make_optimizer


@pytest.fixture(autouse=True)
def little_room(monkeypatch):
    """Blocks that have to grow, and no table that is pulled at once."""
    monkeypatch.setattr(caches_module, 'INITIAL_ROWS', 2)
    monkeypatch.setattr(caches_module, 'PREFETCH_BYTES', 0)


@pytest.fixture
def servers():
    keras.utils.set_random_seed(1)
    model = build_model(
        make_manifest(3),
        ModelConfig(name='mlp', embedding_dim=3, hidden_units=[4], normalization='none'),
    )
    servers = ParameterServers(model, count=3)
    servers.load()
    return servers


def table_of(servers):
    values = tf.Variable(tf.zeros_like(servers.model.embedding.table))
    servers[servers.model.embedding.table].fetch(values)
    return values.numpy()


def in_caches(servers, body, slots=None, optimizer='sgd'):
    """Runs a body of Python with `Caches` as a worker would, in a tf.function."""
    kept, variables = [], servers.model.trainable_variables
    made = make_optimizer(optimizer, 0.5)
    made.build(variables)
    slots = slots or servers.slots(made, variables, keep=False)
    rule = UpdateRule(made)

    @tf.function(autograph=False)
    def run():
        caches = Caches(servers, variables, Traffic(), slots, rule)
        kept.append(caches)
        return body(caches), caches.traffic.counts.read_value()

    result, traffic = run()
    return tf.nest.map_structure(np.asarray, result), traffic.numpy()


def test_a_row_is_queried_when_it_is_first_read_and_never_again(servers):
    variable, before = servers.model.embedding.table, table_of(servers)
    reads = [[5, 9, 5], [9, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [[5, 1], [7, 7]]]

    def body(caches):
        found = []
        for rows in reads:
            found.append(tf.gather(caches[variable], tf.constant(rows)))
            # Meanwhile another worker moves every row on the servers.
            servers[variable].add(tf.ones([10, 3]), tf.range(10, dtype=tf.int64))
        return found

    found, traffic = in_caches(servers, body)
    seen, cached = before.copy(), {}
    for rows, values in zip(reads, found, strict=True):
        for row in np.ravel(rows):
            cached.setdefault(row, seen[row].copy())  # the latest, if it is not cached
        expected = np.array([cached[row] for row in np.ravel(rows)])
        np.testing.assert_allclose(values, expected.reshape(*np.shape(rows), 3), atol=1e-6)
        seen[:10] += 1
    whole = sum(
        each.shape.num_elements() for each in servers.model.variables if each is not variable
    )
    assert traffic.tolist() == [10, 0, 4 * (10 * 3 + whole), 0]


def test_steps_move_the_dynamic_cache_and_the_difference_is_of_touched_rows(servers):
    variable, before = servers.model.embedding.table, table_of(servers)
    rng = np.random.default_rng(0)
    steps = [
        (rng.integers(0, 40, 12), rng.normal(size=(12, 3)).astype(np.float32)) for _ in range(5)
    ]
    rule = UpdateRule(make_optimizer('sgd', 0.5))

    def body(caches):
        cache = caches[variable]
        tf.gather(cache, tf.constant([50, 51]))  # read, and never touched
        for rows, gradient in steps:
            rule.begin_step(tf.constant(0, tf.int64))
            (sparse,) = rule.prepare(
                [tf.IndexedSlices(tf.constant(gradient), cache.positions(tf.constant(rows)))]
            )
            rule(sparse, [cache.dynamic])
            cache.mark_changed(sparse.indices)
        difference = cache.difference()
        cache.add(difference, 0.25)
        return difference.indices, difference.values, tf.gather(cache, np.arange(40))

    (numbers, values, dynamic), _ = in_caches(servers, body)
    expected = before.copy()
    for rows, gradient in steps:
        np.subtract.at(expected, rows, 0.5 * gradient)
    touched = np.unique(np.concatenate([rows for rows, _ in steps]))
    np.testing.assert_array_equal(np.sort(numbers), touched)
    np.testing.assert_allclose(values, (expected - before)[numbers], atol=1e-5)
    np.testing.assert_allclose(dynamic, expected[:40], atol=1e-5)
    np.testing.assert_allclose(
        table_of(servers), before + 0.25 * (expected - before), atol=1e-5
    )


def test_inner_loops_within_the_caches_move_from_where_they_began(servers):
    variable, before = servers.model.embedding.table, table_of(servers)
    own = VariableRows(tf.constant([7, 3], tf.int64), tf.constant([[1.0, 2, 3], [4, 5, 6]]))

    def body(caches):
        cache = caches[variable]
        cache.add_delta(own)  # theta_S + theta_i
        caches.take()
        cache.dynamic.scatter_add(
            tf.IndexedSlices(tf.ones([2, 3]), cache.positions(tf.constant([3, 20])))
        )
        cache.mark_changed(cache.positions(tf.constant([3, 20])))
        caches.move(0.5)
        difference = cache.difference()
        return difference.indices, difference.values

    (numbers, values), _ = in_caches(servers, body)
    found = dict(zip(numbers.tolist(), values, strict=True))
    assert set(found) == {3, 7, 20}
    np.testing.assert_allclose(found[7], [1, 2, 3], atol=1e-6)
    np.testing.assert_allclose(found[3], [4.5, 5.5, 6.5], atol=1e-6)
    np.testing.assert_allclose(found[20], [0.5, 0.5, 0.5], atol=1e-6)
    np.testing.assert_array_equal(table_of(servers), before)  # theta_S stays


def test_small_tables_are_pulled_at_once(servers, monkeypatch):
    monkeypatch.setattr(caches_module, 'PREFETCH_BYTES', 1 << 16)
    variable = servers.model.embedding.table
    rows = variable.shape[0]

    def body(caches):
        first = tf.gather(caches[variable], [4, 4])
        servers[variable].add(tf.ones([1, 3]), tf.constant([6], tf.int64))
        return first, tf.gather(caches[variable], [6])

    before = table_of(servers)
    (first, second), traffic = in_caches(servers, body)
    np.testing.assert_array_equal(first, before[[4, 4]])
    np.testing.assert_array_equal(second, before[[6]])
    assert traffic[0] == rows


@pytest.mark.parametrize('keep', [True, False])
def test_slots_come_and_go_with_their_rows_or_begin_anew(servers, keep):
    variable = servers.model.embedding.table
    optimizer = make_optimizer('momentum', 0.5)
    optimizer.build(servers.model.trainable_variables)
    ((velocity, _),) = optimizer.slots_of(variable)
    velocity.assign_add(tf.ones_like(velocity))
    slots = servers.slots(optimizer, servers.model.trainable_variables, keep)
    servers.load()

    def body(caches):
        cache = caches[variable]
        positions = cache.positions(tf.constant([8, 4]))
        cache.mark_changed(positions)
        before = tf.gather(cache.slots[0], positions)
        cache.slots[0].scatter_update(tf.IndexedSlices(tf.fill([2, 3], 7.0), positions))
        caches.push_slots()
        return before

    found, _ = in_caches(servers, body, slots, 'momentum')
    np.testing.assert_array_equal(found, np.full((2, 3), float(keep)))
    servers.fetch()
    expected = np.ones(velocity.shape)
    if keep:
        expected[[4, 8]] = 7
    np.testing.assert_array_equal(velocity.numpy(), expected)

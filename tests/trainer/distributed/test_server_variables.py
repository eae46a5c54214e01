"""Variables whose rows are dealt out to servers, against NumPy arrays."""

import numpy as np
import pytest

from mdctr.errors import UserError
from tests.trainer.trainer_dataset import make_manifest
from trainer.config import ModelConfig
from trainer.distributed.rules import UpdateRule
from trainer.distributed.servers import (
    ParameterServers,
    ServerOptimizer,
    ServerVariable,
    shard_shapes,
)
from trainer.keras import keras, tf
from trainer.models import build_model
from trainer.optimizers.row_wise import make_optimizer


def dealt(values, count):
    """A table dealt out to servers that are variables here."""
    made = ServerVariable(
        [tf.Variable(tf.zeros(shape)) for shape in shard_shapes(values.shape, count)]
    )
    made.load(tf.Variable(values))
    return made


@pytest.mark.parametrize('count', [1, 2, 3, 7])
def test_rows_are_dealt_out_and_come_back(count):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 2)).astype(np.float32)
    remote = dealt(values, count)
    assert len(remote.shards) == min(count, 5)
    for place, part in enumerate(remote.shards):
        np.testing.assert_array_equal(part.numpy(), values[place :: len(remote.shards)])
    rows = tf.constant([4, 0, 4, 3], tf.int64)
    np.testing.assert_array_equal(remote.pull(rows), values[[4, 0, 4, 3]])
    assert remote.pull(tf.zeros([0], tf.int64)).shape == (0, 2)

    new = rng.normal(size=(2, 2)).astype(np.float32)
    remote.assign(tf.constant(new), tf.constant([3, 1], tf.int64))
    values[[3, 1]] = new
    remote.add(tf.constant(new), tf.constant([1, 4], tf.int64))
    values[[1, 4]] += new
    fetched = tf.Variable(tf.zeros([5, 2]))
    remote.fetch(fetched)
    np.testing.assert_allclose(fetched.numpy(), values, atol=1e-6)


def test_great_tables_travel_in_blocks(monkeypatch):
    monkeypatch.setattr('trainer.distributed.servers._BLOCK_BYTES', 24)  # three rows
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    for count in (1, 3):
        remote, fetched = dealt(values, count), tf.Variable(tf.zeros([20, 2]))
        for place, part in enumerate(remote.shards):
            np.testing.assert_array_equal(part.numpy(), values[place::count])
        remote.fetch(fetched)
        np.testing.assert_array_equal(fetched.numpy(), values)


def model_with(name='star'):
    keras.utils.set_random_seed(1)
    return build_model(
        make_manifest(3), ModelConfig(name=name, embedding_dim=4, hidden_units=[6])
    )


@pytest.mark.parametrize('name', ['sgd', 'momentum', 'adam', 'adagrad', 'rmsprop'])
def test_an_optimizer_on_the_servers_moves_what_one_here_would(name):
    here, there = model_with(), model_with()
    variables = here.trainable_variables
    optimizer, elsewhere = (make_optimizer(name, 0.1, {'clipnorm': 0.7}) for _ in range(2))
    optimizer.build(variables)
    elsewhere.build(there.trainable_variables)
    servers = ParameterServers(there, count=3)
    on_servers = ServerOptimizer(servers, elsewhere, there.trainable_variables)
    servers.load()

    def gradients_of(model):
        features = {key: tf.zeros_like(ids) + 1 for key, ids in model.example(4).items()}
        features['user_id'] = tf.constant([3, 5, 3, 1], tf.int64)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(model(features, training=False) - 1.0))
        return tape.gradient(loss, model.trainable_variables)

    @tf.function(autograph=False)
    def step():
        on_servers.apply(zip_of(gradients_of(there), there.trainable_variables))

    for _ in range(3):
        optimizer.apply_gradients(zip_of(gradients_of(here), variables))
        step()
        servers.fetch()
    for one, other in zip(
        [*variables, *optimizer.variables],
        [*there.trainable_variables, *elsewhere.variables],
        strict=True,
    ):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=2e-6, err_msg=one.name)


def zip_of(gradients, variables):
    return list(zip(gradients, variables, strict=True))


def test_everything_of_a_model_goes_to_the_servers_and_back():
    model = model_with()
    servers = ParameterServers(model, count=2)
    optimizer = make_optimizer('adam', 0.1)
    optimizer.build(model.trainable_variables)
    slots = servers.slots(optimizer, model.trainable_variables)
    servers.load()
    table = model.embedding.table
    assert servers.is_row_wise(table) and len(servers[table].shards) == 2
    assert all(len(slot.shards) == 2 for slot, _ in slots.by_variable[id(table)])
    everything = [*model.variables, *optimizer.variables]
    before = [variable.numpy() for variable in everything]
    for variable in everything:
        if variable is not optimizer.learning_rate:
            variable.assign(tf.zeros_like(variable))
    servers.fetch()
    for variable, value in zip(everything, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_an_optimizer_that_goes_over_whole_tables_is_refused():
    with pytest.raises(UserError, match='Nadam updates whole tables: choose one of sgd'):
        UpdateRule(make_optimizer('nadam', 0.1))

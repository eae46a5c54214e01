"""FeatureEmbedding against lookups by hand."""

import numpy as np
import pytest

from tests.trainer.trainer_dataset import ITEMS, USERS, make_batch, make_features
from trainer.keras import keras, tf
from trainer.layers.inputs.feature_embedding import FeatureEmbedding

# Where each feature's rows begin: users, items (shared with the history), genres, age.
STARTS = {
    'user_id': 0,
    'item_id': USERS + 1,
    'genres': USERS + 1 + ITEMS + 1,
    'history': USERS + 1,
    'age': USERS + 1 + ITEMS + 1 + 9,
}
NAMES = ['user_id', 'item_id', 'genres', 'history', 'age']


@pytest.fixture()
def layer():
    keras.utils.set_random_seed(0)
    layer = FeatureEmbedding(make_features(), 4)
    layer.build(None)
    return layer


def by_hand(table, batch):
    fields = np.zeros((len(batch['domain']), len(NAMES), table.shape[1]))
    for row in range(len(fields)):
        for place, name in enumerate(NAMES):
            ids = np.atleast_1d(batch[name][row])
            ids = ids[ids >= 0]
            if len(ids):
                fields[row, place] = table[STARTS[name] + ids].mean(axis=0)
    return fields


def test_fields_and_sequences(layer):
    batch = make_batch(np.random.default_rng(0), 20)
    table = layer.table.numpy()
    assert table.shape == (USERS + 1 + ITEMS + 1 + 9 + 5 + 1, 4)
    found = layer(batch)
    np.testing.assert_allclose(found.fields, by_hand(table, batch), atol=1e-6)
    history = found.sequences['history']
    np.testing.assert_array_equal(history.mask, batch['history'] >= 0)
    expected = np.where(
        (batch['history'] >= 0)[:, :, None],
        table[STARTS['item_id'] + np.maximum(batch['history'], 0)],
        0,
    )
    np.testing.assert_allclose(history.vectors, expected, atol=1e-7)


def test_unseen_values_start_at_zero_and_ids_out_of_range_are_unseen(layer):
    batch = make_batch(np.random.default_rng(0), 3)
    batch = {**batch, 'item_id': np.array([0, ITEMS + 1, 10**6], np.int32)}
    np.testing.assert_array_equal(layer(batch).fields[:, 1], np.zeros((3, 4)))
    layer.table.assign(layer.table + 1.0)
    np.testing.assert_array_equal(layer(batch).fields[:, 1], np.ones((3, 4)))


def test_padding_has_no_gradient_and_no_other_row_is_touched(layer):
    batch = make_batch(np.random.default_rng(0), 6)
    with tf.GradientTape() as tape:
        target = tf.reduce_sum(layer(batch).fields)
    gradient = tape.gradient(target, layer.table)
    dense = tf.convert_to_tensor(gradient).numpy()
    expected = np.zeros_like(dense)
    for name in NAMES:
        for row in range(6):
            ids = np.atleast_1d(batch[name][row])
            ids = ids[ids >= 0]
            np.add.at(expected, STARTS[name] + ids, 1 / max(len(ids), 1))
    np.testing.assert_allclose(dense, expected, atol=1e-6)
    assert not dense[-1].any()


def test_l2_is_the_mean_squared_norm_of_what_was_looked_up():
    layer = FeatureEmbedding(make_features(), 4, l2=0.5)
    batch = make_batch(np.random.default_rng(0), 10)
    layer(batch, training=True)
    table, total = layer.table.numpy(), 0.0
    for name in NAMES:
        ids = batch[name]
        total += (table[STARTS[name] + ids[ids >= 0]] ** 2).sum()
    assert float(layer.losses[0]) == pytest.approx(0.5 * total / 10, rel=1e-5)
    layer(batch, training=False)
    assert not layer.losses


def test_id_dropout_makes_its_share_unseen_in_training_alone():
    layer = FeatureEmbedding(make_features(), 4, id_dropout=0.3, seed=5)
    layer.build(None)
    layer.table.assign(tf.ones_like(layer.table))
    for start in {STARTS[name] for name in NAMES}:
        layer.table.scatter_update(tf.IndexedSlices(tf.zeros([4]), start))
    batch = {
        name: np.maximum(ids, 1)
        for name, ids in make_batch(np.random.default_rng(0), 2000).items()
    }
    kept = layer(batch, training=True).fields.numpy().mean(axis=(0, 2))
    np.testing.assert_allclose(kept, 0.7, atol=0.04)
    np.testing.assert_array_equal(layer(batch).fields, np.ones((2000, 5, 4)))


def test_features_of_one_kind_alone():
    for kind in ('categorical', 'sequence'):
        features = [feature for feature in make_features() if feature.kind == kind]
        fields = FeatureEmbedding(features, 2)(make_batch(np.random.default_rng(0), 5)).fields
        assert fields.shape == (5, 2, 2)

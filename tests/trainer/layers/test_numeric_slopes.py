"""NumericSlopes against AutoInt's equation by hand, and in the models."""

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.manifest import Feature
from tests.parameters import EVERY_MODEL
from tests.trainer.numeric import check_training, randomize, weigh
from tests.trainer.trainer_dataset import (
    build_any,
    make_batch,
    make_features,
    make_manifest,
    write_dataset,
)
from trainer.config import ModelConfig, TrainConfig
from trainer.export.load import WarmStart, build_or_warm_start, load_model
from trainer.keras import keras, tf
from trainer.layers.inputs.numeric_slopes import NumericSlopes
from trainer.loop.step import TrainStep
from trainer.models import build_model
from trainer.optimizers.row_wise import make_optimizer
from trainer.train import train

AGE = 4  # its place among the features


def place_of(buckets, size=5):
    """x: buckets 1 to size - 1 spread evenly over [-sqrt(3), sqrt(3)], 0 where missing."""
    grid = np.concatenate([[0], np.linspace(-(3**0.5), 3**0.5, size - 1)])
    return grid[buckets]


@pytest.mark.parametrize('buckets', [2, 3, 10, 100])
def test_variance_over_equally_frequent_buckets_is_as_documented(buckets):
    layer = NumericSlopes([Feature('n', 'numeric', 'item', buckets + 1)], 1)
    layer.build(None)
    layer.slopes.assign([[1.0]])
    ids = tf.range(1, buckets + 1)
    positions = layer(tf.zeros([buckets, 1, 1]), {'n': ids}).numpy().ravel()
    assert positions.mean() == pytest.approx(0, abs=1e-6)
    assert positions.var() == pytest.approx((buckets + 1) / (buckets - 1), rel=1e-5)


def test_a_number_adds_its_place_times_its_slope_and_other_fields_stay():
    layer = NumericSlopes(make_features(), 3)
    ids = {
        name: tf.constant(values)
        for name, values in make_batch(np.random.default_rng(0), 6).items()
    }
    fields = np.random.default_rng(1).normal(size=(6, 6, 3)).astype(np.float32)  # one appended

    def by_hand(arrays, buckets):
        out = fields.astype(np.float64)
        out[:, AGE] += place_of(buckets)[:, None] * arrays[0][0]
        return weigh(out)

    layer.build(None)
    randomize(layer)
    drawn = [np.array(buckets) for buckets in ([0, 1, 2, 3, 4, 4], [1, 1, 0, 0, 4, 2])]
    check_training(
        [layer.slopes],
        lambda buckets: weigh(layer(tf.constant(fields), {**ids, 'age': tf.constant(buckets)})),
        by_hand,
        drawn,
    )
    moved = layer(tf.constant(fields), {**ids, 'age': tf.constant(drawn[0])}).numpy()
    others = [place for place in range(6) if place != AGE]
    np.testing.assert_array_equal(moved[:, others], fields[:, others])


def test_places_have_mean_zero_and_ids_out_of_range_are_missing():
    layer = NumericSlopes(
        [
            Feature('n', 'numeric', 'item', 102, boundaries=[*range(100)]),
            Feature('one', 'numeric', 'item', 2),
        ],
        1,
    )
    layer.build(None)
    layer.slopes.assign([[1.0], [1.0]])
    n = np.arange(1, 102)
    found = layer(
        tf.zeros([101, 2, 1]), {'n': tf.constant(n), 'one': tf.constant(np.ones_like(n))}
    ).numpy()
    assert found[:, 0].mean() == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(found[:, 1], 0)  # a single bucket tells nothing
    missing = layer(
        tf.zeros([3, 2, 1]), {'n': tf.constant([0, 102, -1]), 'one': tf.constant([0, 0, 0])}
    )
    np.testing.assert_array_equal(missing, 0)


@pytest.mark.parametrize('name', EVERY_MODEL)
def test_every_model_learns_slopes(name):
    keras.utils.set_random_seed(1)
    model = build_any(
        make_manifest(3),
        ModelConfig(name=name, embedding_dim=4, hidden_units=[8, 4], numeric_slopes=True),
    )
    batch = {
        key: tf.constant(value)
        for key, value in make_batch(np.random.default_rng(0), 32).items()
    }
    batch['click'] = tf.cast(batch['age'] > 2, tf.float32)
    step = TrainStep(model, make_optimizer('adam', 0.01))
    step(batch)
    before = model.numeric_slopes.slopes.numpy()
    assert before.shape == (1, 4)
    step(batch)
    assert (model.numeric_slopes.slopes.numpy() != before).all()


def test_without_numbers_there_is_nothing_to_learn():
    model = build_model(
        make_manifest(3), ModelConfig(name='mlp', exclude_features=['age'], numeric_slopes=True)
    )
    assert model.numeric_slopes is None


def test_slopes_are_exported_continued_and_taken_with_the_embeddings(tmp_path):
    dataset = str(tmp_path / 'dataset')
    write_dataset(dataset)
    config = TrainConfig(
        model=ModelConfig(name='mlp', embedding_dim=4, hidden_units=[8], numeric_slopes=True),
        epochs=1,
        batch_size=100,
    )
    exported = train(dataset, str(tmp_path / 'run'), config)
    learned = load_model(exported).model.numeric_slopes.slopes.numpy()
    for parts, same in (('all', True), ('embeddings', True), ('id_embeddings', False)):
        started = build_or_warm_start(
            open_dataset(dataset), config.model, ['train'], WarmStart(exported, parts)
        ).model
        assert np.array_equal(started.numeric_slopes.slopes, learned) == same, parts

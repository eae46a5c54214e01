"""Every model saved by Keras as one file, and loaded."""

import numpy as np
import pytest

from tests.parameters import EVERY_MODEL
from tests.trainer.trainer_dataset import build_any, make_batch, make_manifest
from trainer.config import ModelConfig
from trainer.keras import keras, tf

DOMAINS = 3


def rows():
    batch = make_batch(np.random.default_rng(0), 12, DOMAINS)
    return {name: tf.constant(values) for name, values in batch.items()}


@pytest.mark.parametrize('name', EVERY_MODEL)
def test_a_loaded_model_scores_as_the_saved_one(name, tmp_path):
    keras.utils.set_random_seed(1)
    config = ModelConfig(name=name, embedding_dim=4, hidden_units=[6, 5], dropout=0.1)
    model = build_any(make_manifest(DOMAINS), config)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.3))
    model.set_prior(-1.5)
    model(rows(), training=True)  # moves moments and counters
    path = str(tmp_path / 'model.keras')
    model.save(path)
    loaded = keras.models.load_model(path)
    assert type(loaded) is type(model)
    assert loaded.config == config and loaded.manifest == model.manifest
    np.testing.assert_array_equal(loaded(rows()), model(rows()))


@pytest.mark.parametrize('normalization', ['bn', 'ln', 'pn', 'none'])
def test_any_normalization_is_loaded(normalization, tmp_path):
    config = ModelConfig(
        name='mlp', embedding_dim=4, hidden_units=[6], normalization=normalization
    )
    model = build_any(make_manifest(DOMAINS), config)
    path = str(tmp_path / 'model.keras')
    model.save(path)
    np.testing.assert_array_equal(keras.models.load_model(path)(rows()), model(rows()))

"""A domain added later starts as the shared model, and changes nothing else."""

import numpy as np
import pytest

from mdctr.errors import UserError
from tests.parameters import EVERY_MODEL
from tests.trainer import trainer_dataset
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.models.extend_model import extend_model


def trained(name, **kwargs):
    """A model whose weights and moments are no longer those that it started with."""
    keras.utils.set_random_seed(1)
    model = trainer_dataset.build_any(
        trainer_dataset.make_manifest(3),
        ModelConfig(name=name, embedding_dim=4, hidden_units=[8, 6], **kwargs),
    )
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape) * 0.3)
    batch = trainer_dataset.make_batch(rng, 50)
    model({name: tf.constant(values) for name, values in batch.items()}, training=True)
    return model


def scores(model, batch, domain=None):
    features = {name: tf.constant(values) for name, values in batch.items()}
    return model(
        {**features, 'domain': features['domain'] if domain is None else tf.constant(domain)}
    ).numpy()


@pytest.mark.parametrize('name', EVERY_MODEL)
def test_an_added_domain_starts_as_the_shared_model(name):
    model = trained(name, auxiliary_network=True, normalization='pn')
    larger = extend_model(model, trainer_dataset.make_manifest(5))
    batch = trainer_dataset.make_batch(np.random.default_rng(1), 30)
    before = scores(model, batch)
    assert np.std(before) > 1e-3
    np.testing.assert_allclose(scores(larger, batch), before, atol=1e-5)
    unseen = scores(model, batch, 0)
    for domain in (4, 5, 0):
        np.testing.assert_allclose(scores(larger, batch, domain), unseen, atol=1e-5)
    for variable, old in zip(larger.variables, model.variables, strict=True):
        kept = variable.numpy()[tuple(map(slice, old.shape))]
        np.testing.assert_array_equal(kept, old.numpy())


def test_what_cannot_get_domains_says_so():
    model = trained('mmoe', options={'experts': 0})  # as many experts as domains
    with pytest.raises(UserError, match='cannot be extended to the shape'):
        extend_model(model, trainer_dataset.make_manifest(4))
    with pytest.raises(UserError, match='only add'):
        extend_model(trained('star'), trainer_dataset.make_manifest(2))

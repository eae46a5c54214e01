"""DLRM against the equations of Naumov et al. 2019, row by row."""

import itertools

import numpy as np
import pytest

from tests.trainer.models.compared import assert_logits_are, dense, make, network, values
from tests.trainer.trainer_dataset import make_manifest
from trainer.config import ModelConfig
from trainer.models import build_model


def paper(model, fields, p):
    by_name = dict(zip(model.fields, fields, strict=True))
    bottom = network(by_name.pop('age'), values(model.bottom))
    vectors = [bottom, *by_name.values()]
    dots = [v @ w for v, w in itertools.combinations(vectors, 2)]
    embeddings = [*by_name.values()] if model.options.embeddings_in_top else []
    # TFRS orders the pairs by their second vector.
    order = sorted(
        range(len(dots)),
        key=lambda k: list(itertools.combinations(range(len(vectors)), 2))[k][::-1],
    )
    top = np.concatenate([bottom, *embeddings, np.array(dots)[order]])
    return dense(network(top, values(model.tower)), values(model.head))[0]


@pytest.mark.parametrize(
    'options',
    [{}, {'embeddings_in_top': False, 'domain_feature': True, 'bottom_units': [4, 2]}],
)
def test_logits_equal_numpy(options):
    import tensorflow_recommenders as tfrs  # after trainer.keras has selected Keras 2

    model = make('dlrm', **options)
    assert type(model.interaction) is tfrs.layers.feature_interaction.DotInteraction
    assert_logits_are(model, paper)


def test_without_numeric_features_there_is_no_bottom():
    config = ModelConfig(name='dlrm', hidden_units=[4], exclude_features=['age'])
    assert build_model(make_manifest(), config).bottom is None


@pytest.mark.parametrize('kept', ['age', 'user_id'])
def test_one_feature_has_no_pairs_but_a_logit(kept):
    names = {'user_id', 'item_id', 'genres', 'history', 'age'}
    config = ModelConfig(
        name='dlrm',
        hidden_units=[4],
        exclude_features=sorted(names - {kept}),
        options={'embeddings_in_top': False},
    )
    build_model(make_manifest(), config)

"""The contract of every model of the registry."""

import json
import os
from typing import NamedTuple

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from tests.parameters import EVERY_MODEL
from tests.trainer.trainer_dataset import build_any, make_batch, make_manifest
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.export.golden import read_golden
from trainer.export.saved_model import export_model
from trainer.keras import keras, tf
from trainer.loop.step import TrainStep, loss_of
from trainer.models import build_model
from trainer.models.base import CTRModel
from trainer.optimizers.row_wise import make_optimizer

DOMAINS = 3


def config_of(name, **kwargs):
    return ModelConfig(name=name, embedding_dim=4, hidden_units=[8, 4], **kwargs)


def logits(model, batch):
    return model({name: tf.constant(value) for name, value in batch.items()}).numpy()


class Trained(NamedTuple):
    """A model after three epochs.

    Attributes:
        model: The model.
        examples: The split that it was trained on.
        losses: Its loss on the same batch before and after training.
        rows: Rows with unseen values and domains and empty sequences.
        logits: The model's logits of `rows`.
    """

    model: CTRModel
    examples: Examples
    losses: tuple[float, float]
    rows: dict[str, np.ndarray]
    logits: np.ndarray


def odd_rows():
    rows = make_batch(np.random.default_rng(3), 24, DOMAINS)
    rows['domain'][:4] = [0, 0, DOMAINS + 5, 1]
    rows['item_id'][4:6] = [0, 10**6]
    rows['history'][6:9] = -1
    return rows


@pytest.fixture(scope='module', params=EVERY_MODEL)
def trained(request, dataset):
    keras.utils.set_random_seed(1)
    examples = Examples(open_dataset(dataset), 'train')
    model = build_any(examples.manifest, config_of(request.param, dropout=0.1))
    step = TrainStep(model, make_optimizer('adam', 0.01))

    def loss():
        batch = next(examples.epoch(99, 512, 'mixed'))
        return float(
            loss_of(
                model,
                {key: tf.constant(value) for key, value in batch.items()},
                tf.constant(batch['click']),
            )
        )

    before = loss()
    for epoch in range(3):
        for batch in examples.epoch(epoch, 64, model.batches):
            step({key: tf.constant(value) for key, value in batch.items()})
    rows = odd_rows()
    return Trained(model, examples, (before, loss()), rows, logits(model, rows))


@pytest.fixture(scope='module')
def exported(trained, dataset, tmp_path_factory):
    """The directory of the trained model's export."""
    return export_model(
        trained.model,
        str(tmp_path_factory.mktemp('export') / 'export'),
        trained.examples,
        TrainConfig(model=trained.model.config),
        {},
        1,
    )


def test_training_lowers_the_loss(trained):
    before, after = trained.losses
    assert after < before


def test_a_row_scores_the_same_alone_and_in_a_batch(trained):
    assert np.isfinite(trained.logits).all()
    for i in range(0, 24, 3):
        one = {key: value[i : i + 1] for key, value in trained.rows.items()}
        expected = trained.logits[i : i + 1]
        np.testing.assert_allclose(logits(trained.model, one), expected, atol=1e-5)
        one['domain'] = trained.rows['domain'][i]  # a scalar: the whole batch is of one domain
        np.testing.assert_allclose(logits(trained.model, one), expected, atol=1e-5)


def test_saved_weights_give_the_same_logits_in_another_model(trained, tmp_path):
    trained.model.save_weights(str(tmp_path / 'weights'))
    other = build_any(trained.examples.manifest, trained.model.config)
    other.load_weights(str(tmp_path / 'weights')).assert_existing_objects_matched()
    np.testing.assert_array_equal(logits(other, trained.rows), trained.logits)


def test_an_export_scores_ids_as_the_model_and_leaves_the_model_as_it_was(trained, exported):
    np.testing.assert_array_equal(logits(trained.model, trained.rows), trained.logits)
    ids = {key: tf.constant(value, tf.int64) for key, value in trained.rows.items()}
    np.testing.assert_allclose(
        tf.saved_model.load(exported).signatures['encoded'](**ids)['score'],
        1 / (1 + np.exp(-trained.logits)),
        atol=1e-6,
    )


def test_an_export_scores_raw_values_as_its_golden_batch_alone_and_together(exported):
    serve = tf.saved_model.load(exported).signatures['serving_default']
    raw, scores = read_golden(exported)
    raw = {key: tf.constant(value) for key, value in raw.items()}
    np.testing.assert_allclose(serve(**raw)['score'], scores, atol=1e-6)
    for i in (0, len(scores) // 2, len(scores) - 1):
        alone = serve(**{key: value[i : i + 1] for key, value in raw.items()})['score']
        np.testing.assert_allclose(alone, scores[i : i + 1], atol=1e-6)


@pytest.mark.parametrize('name', EVERY_MODEL)
def test_a_batch_of_one_row_trains(name):
    keras.utils.set_random_seed(1)
    model = build_any(make_manifest(DOMAINS), config_of(name))
    for domain in (np.int32(2), np.array([3], np.int32)):
        batch = {**make_batch(np.random.default_rng(0), 1), 'domain': domain}
        features = {key: tf.constant(value) for key, value in batch.items()}
        with tf.GradientTape() as tape:
            loss = loss_of(model, features, tf.constant([1.0]))
        gradients = tape.gradient(loss, model.trainable_variables)
        assert np.isfinite(float(loss))
        assert all(
            np.isfinite(tf.convert_to_tensor(gradient)).all()
            for gradient in gradients
            if gradient is not None
        )
    assert all(np.isfinite(variable).all() for variable in model.variables)


def test_star_learns_shared_weights_from_all_rows_and_domain_weights_from_their_own():
    keras.utils.set_random_seed(1)
    model = build_model(make_manifest(DOMAINS), config_of('star'))
    batch = make_batch(np.random.default_rng(0), 32)
    batch['domain'] = np.where(np.arange(32) % 2, 1, 3).astype(np.int32)
    before = {variable.name: variable.numpy() for variable in model.trainable_variables}
    step = TrainStep(model, make_optimizer('adam', 0.01))
    for _ in range(3):
        step(
            {
                **{key: tf.constant(value) for key, value in batch.items()},
                'click': tf.constant((np.arange(32) % 3 == 0).astype(np.float32)),
            }
        )
    assert isinstance(model.head.domain_kernel, tf.Variable)  # the output is in the star too
    for variable in model.trainable_variables:
        old, new = before[variable.name], variable.numpy()
        if '/domain_' in variable.name:
            np.testing.assert_array_equal(old[[0, 2]], new[[0, 2]])
            assert (old[[1, 3]] != new[[1, 3]]).any(axis=tuple(range(1, old.ndim))).all()
        else:
            assert (old != new).any(), variable.name


@pytest.mark.parametrize('normalization', ['none', 'bn', 'ln', 'pn'])
@pytest.mark.parametrize('auxiliary', [True, False])
def test_normalization_and_the_auxiliary_network_are_switches(normalization, auxiliary):
    model = build_model(
        make_manifest(DOMAINS),
        config_of(
            'mlp',
            normalization=normalization,
            auxiliary_network=auxiliary,
            options={'domain_feature': True},
        ),
    )
    names = ' '.join(variable.name for variable in model.variables)
    assert ('domain_gamma' in names) == (normalization == 'pn')
    assert ('auxiliary' in names) == auxiliary
    assert 'domain_feature' in names
    assert logits(model, make_batch(np.random.default_rng(0), 5)).shape == (5,)


def test_excluded_features_are_neither_seen_nor_asked_for(dataset, tmp_path):
    config = config_of('mlp', exclude_features=['age', 'history'])
    examples = Examples(open_dataset(dataset), 'train', exclude=config.exclude_features)
    model = build_model(examples.manifest, config)
    exported = export_model(
        model, str(tmp_path / 'export'), examples, TrainConfig(model=config), {}, 1
    )
    signature = tf.saved_model.load(exported).signatures['serving_default']
    assert set(signature.structured_input_signature[1]) == {
        'user_id',
        'item_id',
        'genres',
        'domain',
    }
    with open(os.path.join(exported, 'model.json'), encoding='utf-8') as file:
        assert json.load(file)['features'] == ['user_id', 'item_id', 'genres']


@pytest.mark.parametrize(
    ('config', 'sentence'),
    [
        (ModelConfig(name='starr'), 'no model starr; .*[Tt]here are mlp, star'),
        (ModelConfig(name='mlp', options={'heads': 2}), 'unknown key heads'),
        (ModelConfig(exclude_features=['ages']), 'names ages, which is not a feature'),
        (
            ModelConfig(exclude_features=['user_id', 'item_id', 'genres', 'history', 'age']),
            'excludes every feature',
        ),
    ],
)
def test_a_wrong_model_section_is_one_sentence(config, sentence):
    with pytest.raises(UserError, match=sentence):
        build_model(make_manifest(), config)

"""The contract of every model of the registry."""

import json
import os

import numpy as np
import pytest
from trainer_dataset import build_any, make_batch, make_manifest

from beam_jobs.errors import UserError
from trainer.config import ModelConfig, TrainConfig
from trainer.examples import Examples
from trainer.export import export_model
from trainer.golden import read_golden
from trainer.keras import keras, tf
from trainer.models import MODELS, build_model
from trainer.optimizers import make_optimizer
from trainer.step import TrainStep, loss_of

DOMAINS = 3


def config_of(name, **kwargs):
    return ModelConfig(name=name, embedding_dim=4, hidden_units=[8, 4], **kwargs)


def logits(model, batch):
    return model({name: tf.constant(value) for name, value in batch.items()}).numpy()


@pytest.mark.parametrize('name', MODELS)
def test_fits_saves_exports_and_scores_rows_alone(name, dataset, tmp_path):
    keras.utils.set_random_seed(1)
    examples = Examples(dataset, 'train')
    model = build_any(examples.manifest, config_of(name, dropout=0.1))
    step = TrainStep(model, make_optimizer('adam', 0.01))

    def loss():
        batch = next(examples.epoch(99, 512, 'mixed'))
        return float(loss_of(model, {key: tf.constant(value) for key, value in batch.items()},
                             tf.constant(batch['click'])))
    before = loss()
    for epoch in range(3):
        for batch in examples.epoch(epoch, 64, model.batches):
            step({key: tf.constant(value) for key, value in batch.items()})
    assert loss() < before

    # A row's score does not depend on the rows beside it, of unseen values and domains, with
    # empty sequences, one domain at a time or all together.
    rows = make_batch(np.random.default_rng(3), 24, DOMAINS)
    rows['domain'][:4] = [0, 0, DOMAINS + 5, 1]
    rows['item_id'][4:6] = [0, 10**6]
    rows['history'][6:9] = -1
    together = logits(model, rows)
    assert np.isfinite(together).all()
    for i in range(0, 24, 3):
        one = {key: value[i:i + 1] for key, value in rows.items()}
        np.testing.assert_allclose(logits(model, one), together[i:i + 1], atol=1e-5)
        one['domain'] = rows['domain'][i]
        np.testing.assert_allclose(logits(model, one), together[i:i + 1], atol=1e-5)

    # Weights saved and loaded.
    model.save_weights(str(tmp_path / 'weights'))
    other = build_any(examples.manifest, config_of(name, dropout=0.1))
    other.load_weights(str(tmp_path / 'weights')).assert_existing_objects_matched()
    np.testing.assert_array_equal(logits(other, rows), together)

    # Exported, reloaded: the same scores of raw values and of ids, whatever is beside.
    exported = export_model(model, str(tmp_path / 'export'), dataset, examples,
                            TrainConfig(model=model.config), {}, 1)
    np.testing.assert_array_equal(logits(model, rows), together)  # unfolded again
    signatures = tf.saved_model.load(exported).signatures
    ids = {key: tf.constant(value, tf.int64) for key, value in rows.items()}
    np.testing.assert_allclose(signatures['encoded'](**ids)['score'],
                               1 / (1 + np.exp(-together)), atol=1e-6)
    raw, scores = read_golden(exported)
    raw = {key: tf.constant(value) for key, value in raw.items()}
    np.testing.assert_allclose(signatures['serving_default'](**raw)['score'], scores, atol=1e-6)
    for i in (0, len(scores) // 2, len(scores) - 1):
        alone = signatures['serving_default'](
            **{key: value[i:i + 1] for key, value in raw.items()})['score']
        np.testing.assert_allclose(alone, scores[i:i + 1], atol=1e-6)


@pytest.mark.parametrize('name', MODELS)
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
        assert all(np.isfinite(tf.convert_to_tensor(gradient)).all()
                   for gradient in gradients if gradient is not None)
    assert all(np.isfinite(variable).all() for variable in model.variables)


def test_star_learns_shared_weights_from_all_rows_and_domain_weights_from_their_own():
    keras.utils.set_random_seed(1)
    model = build_model(make_manifest(DOMAINS), config_of('star'))
    batch = make_batch(np.random.default_rng(0), 32)
    batch['domain'] = np.where(np.arange(32) % 2, 1, 3).astype(np.int32)
    before = {variable.name: variable.numpy() for variable in model.trainable_variables}
    step = TrainStep(model, make_optimizer('adam', 0.01))
    for _ in range(3):
        step({**{key: tf.constant(value) for key, value in batch.items()},
              'click': tf.constant((np.arange(32) % 3 == 0).astype(np.float32))})
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
    model = build_model(make_manifest(DOMAINS), config_of(
        'mlp', normalization=normalization, auxiliary=auxiliary,
        options={'domain_feature': True}))
    names = ' '.join(variable.name for variable in model.variables)
    assert ('domain_gamma' in names) == (normalization == 'pn')
    assert ('auxiliary' in names) == auxiliary
    assert 'domain_feature' in names
    assert logits(model, make_batch(np.random.default_rng(0), 5)).shape == (5,)


def test_excluded_features_are_neither_seen_nor_asked_for(dataset, tmp_path):
    config = config_of('mlp', exclude=['age', 'history'])
    examples = Examples(dataset, 'train', exclude=config.exclude)
    model = build_model(examples.manifest, config)
    exported = export_model(model, str(tmp_path / 'export'), dataset, examples,
                            TrainConfig(model=config), {}, 1)
    signature = tf.saved_model.load(exported).signatures['serving_default']
    assert set(signature.structured_input_signature[1]) == {
        'user_id', 'item_id', 'genres', 'domain'}
    with open(os.path.join(exported, 'model.json'), encoding='utf-8') as file:
        assert json.load(file)['features'] == ['user_id', 'item_id', 'genres']


@pytest.mark.parametrize(('config', 'sentence'), [
    (ModelConfig(name='starr'), 'no model starr; there are mlp, star'),
    (ModelConfig(name='mlp', options={'heads': 2}), 'unknown key heads'),
    (ModelConfig(exclude=['ages']), 'names ages, which is no feature'),
    (ModelConfig(exclude=['user_id', 'item_id', 'genres', 'history', 'age']), 'no feature')])
def test_refusals(config, sentence):
    with pytest.raises(UserError, match=sentence):
        build_model(make_manifest(), config)

"""The exported model: raw values, down-sampled negatives, folded weights, other processes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from tests.trainer.trainer_dataset import make_batch, record_files, write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.export.golden import check_golden, read_golden
from trainer.export.preprocessing import RawFeatureEncoder
from trainer.export.saved_model import export_model
from trainer.keras import keras, tf
from trainer.loop.step import TrainStep
from trainer.models import build_model
from trainer.optimizers.row_wise import make_optimizer

CONFIG = TrainConfig(model=ModelConfig(name='star', embedding_dim=4, hidden_units=[8, 4]))


@pytest.fixture(scope='module')
def trained(dataset):
    keras.utils.set_random_seed(1)
    examples = Examples(open_dataset(dataset), 'train')
    model = build_model(examples.manifest, CONFIG.model)
    step = TrainStep(model, make_optimizer('adam', 0.02))
    for epoch in range(2):
        for batch in examples.epoch(epoch, 64):
            step({key: tf.constant(value) for key, value in batch.items()})
    return model, examples


@pytest.fixture(scope='module')
def exported(trained, dataset, tmp_path_factory):
    return export_model(
        trained[0],
        str(tmp_path_factory.mktemp('model') / 'export'),
        trained[1],
        CONFIG,
        {'overall': {'auc': 0.5}},
        2,
    )


def test_raw_values_become_the_ids_of_the_dataset(dataset):
    examples = Examples(open_dataset(dataset), 'train')
    raw_values = RawFeatureEncoder(
        examples.dataset, examples.features, examples.manifest.domains
    )
    nan = float('nan')
    ids = raw_values(
        {
            'user_id': tf.constant(['u1', 'u60', '', 'u61', 'x']),
            'item_id': tf.constant(['i40', 'i1', 'i2', '', 'i41']),
            'genres': tf.constant(
                [
                    ['g1', 'g8', ''],
                    ['', '', ''],
                    ['', 'g2', 'new'],
                    ['new', '', 'g1'],
                    ['g1', 'g2', 'g3'],
                ]
            ),
            'history': tf.constant([['i1', 'i2', 'i3', 'i4', 'i5']] * 5),
            'age': tf.constant([17.9, 18.0, 45.4, 45.5, nan]),
            'domain': tf.constant(['d1', 'd3', 'd4', '', 'd2']),
        }
    )
    assert ids['user_id'].numpy().tolist() == [1, 60, 0, 0, 0]
    assert ids['item_id'].numpy().tolist() == [40, 1, 2, 0, 0]
    assert ids['genres'].numpy().tolist() == [
        [1, 8, -1],
        [-1, -1, -1],
        [2, 0, -1],
        [0, 1, -1],
        [1, 2, 3],
    ]
    assert ids['history'].numpy().tolist() == [[1, 2, 3, 4]] * 5  # the feature's length
    assert ids['age'].numpy().tolist() == [1, 2, 3, 4, 0]
    assert ids['domain'].numpy().tolist() == [1, 3, 0, 0, 2]


def test_a_vocabulary_without_values(tmp_path):
    write_dataset(tmp_path / 'tiny')
    (tmp_path / 'tiny/vocabulary/genres.txt').write_text('')
    record_files(str(tmp_path / 'tiny'))
    examples = Examples(open_dataset(str(tmp_path / 'tiny')), 'train')
    genres = [feature for feature in examples.features if feature.name == 'genres']
    raw_values = RawFeatureEncoder(examples.dataset, genres, examples.manifest.domains)
    ids = raw_values({'genres': tf.constant([['g1', '']]), 'domain': tf.constant(['d1'])})
    assert ids['genres'].numpy().tolist() == [[0, -1]]


def test_folded_scores_are_those_of_the_training_graph(trained, exported):
    model, _ = trained
    rows = make_batch(np.random.default_rng(0), 200)
    rows['domain'][:20] = 0
    logits = model({key: tf.constant(value) for key, value in rows.items()}).numpy()
    encoded = tf.saved_model.load(exported).signatures['encoded']
    scores = encoded(**{key: tf.constant(value, tf.int64) for key, value in rows.items()})
    np.testing.assert_allclose(scores['score'], 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert scores['score'].dtype == tf.float32
    # What was multiplied out is what is carried: no shared kernel beside the domains' own.
    shapes = [
        tuple(shape)
        for _, shape in tf.train.list_variables(
            os.path.join(exported, 'variables', 'variables')
        )
    ]
    assert (4, 20, 8) in shapes and (20, 8) not in shapes


def test_sequences_of_any_length_and_an_empty_batch(exported):
    raw, _ = read_golden(exported)
    serve = tf.saved_model.load(exported).signatures['serving_default']
    inputs = {key: tf.constant(value) for key, value in raw.items()}
    scores = serve(**inputs)['score'].numpy()
    longer = {
        **inputs,
        'genres': tf.pad(inputs['genres'], [[0, 0], [2, 3]], constant_values=''),
    }
    np.testing.assert_allclose(serve(**longer)['score'], scores, atol=1e-6)
    none = {**inputs, 'history': tf.zeros([len(scores), 0], tf.string)}
    assert np.isfinite(serve(**none)['score']).all()
    assert serve(**{key: value[:0] for key, value in inputs.items()})['score'].shape == (0,)


def test_golden_batch_has_every_domain_unseen_ones_and_nothing(exported):
    raw, scores = read_golden(exported)
    assert {'d1', 'd2', 'd3'} < set(raw['domain'])
    assert len(set(raw['domain'])) == 4
    assert (raw['history'][-1] == '').all() and np.isnan(raw['age'][-1])
    assert len(np.unique(scores.round(5))) > 10
    assert check_golden(exported) is None


def test_a_process_without_this_project_loads_it(exported):
    code = """
import json, sys
import tensorflow as tf
golden = json.load(open(sys.argv[1] + '/golden.json'))
serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']
nan = float('nan')
specs = serve.structured_input_signature[1]
inputs = {name: tf.constant([nan if v is None else v for v in values], specs[name].dtype)
          for name, values in golden['inputs'].items()}
scores = serve(**inputs)['score'].numpy()
assert abs(scores - golden['scores']).max() < 1e-5
assert not [name for name in sys.modules if name.split('.')[0] in ('trainer', 'beam_jobs')]
"""
    done = subprocess.run(
        [sys.executable, '-c', code, exported],
        capture_output=True,
        text=True,
        check=False,
        cwd='/',
    )
    assert done.returncode == 0, done.stderr


def test_scores_of_down_sampled_negatives_are_of_the_whole_log(trained, dataset, tmp_path):
    write_dataset(tmp_path / 'sampled', keep_negatives=0.2)
    examples = Examples(open_dataset(str(tmp_path / 'sampled')), 'train')
    exported = export_model(trained[0], str(tmp_path / 'export'), examples, CONFIG, {}, 1)
    rows = make_batch(np.random.default_rng(0), 50)
    logits = trained[0]({key: tf.constant(value) for key, value in rows.items()}).numpy()
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    encoded = tf.saved_model.load(exported).signatures['encoded']
    scores = encoded(**{key: tf.constant(value, tf.int64) for key, value in rows.items()})
    np.testing.assert_allclose(scores['score'], p / (p + (1 - p) / 0.2), atol=1e-6)
    assert check_golden(exported) is None


def test_model_json_describes_the_run(exported):
    with open(os.path.join(exported, 'model.json'), encoding='utf-8') as file:
        found = json.load(file)
    assert (found['model'], found['framework'], found['epoch']) == ('star', 'joint', 2)
    assert found['dataset'] == {'name': 'tiny', 'fingerprint': 'fingerprint-of-tiny'}
    assert found['domains'] == ['d1', 'd2', 'd3']
    assert found['config']['model']['hidden_units'] == [8, 4]
    assert found['validation'] == {'overall': {'auc': 0.5}}

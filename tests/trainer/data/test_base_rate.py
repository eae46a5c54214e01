"""The base rate that a model starts at."""

import json
import math
import os

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.manifest import read_manifest
from tests.trainer.trainer_dataset import make_batch, make_manifest, write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.base_rate import base_log_odds
from trainer.data.examples import Examples
from trainer.export.golden import check_golden
from trainer.export.load import WarmStart, load_model
from trainer.keras import keras
from trainer.models import MODELS, build_model
from trainer.models.extend_model import extend_model
from trainer.train import train

# Not normalized, so that a model that has learned nothing adds next to nothing.
MODEL = ModelConfig(name='star', embedding_dim=2, hidden_units=[4], normalization='none')


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp('data') / 'tiny')
    return directory, write_dataset(directory)


def test_the_log_odds_are_those_of_the_rows(dataset):
    directory, rows = dataset
    for domains in ([1, 2, 3], [2]):
        clicks = np.concatenate([rows['train'][domain]['click'] for domain in domains])
        found = base_log_odds(
            Examples(
                open_dataset(directory), 'train', domains=[f'd{domain}' for domain in domains]
            )
        )
        assert found == pytest.approx(
            math.log((clicks.sum() + 0.5) / ((1 - clicks).sum() + 0.5))
        )
    several = base_log_odds(Examples(open_dataset(directory), ['train', 'validation']))
    clicks = np.concatenate(
        [
            rows[split][domain]['click']
            for split in ('train', 'validation')
            for domain in (1, 2, 3)
        ]
    )
    assert 1 / (1 + math.exp(-several)) == pytest.approx(clicks.mean(), abs=1e-3)


def test_one_class_and_no_counts(tmp_path):
    write_dataset(tmp_path / 'tiny', rows={'train': {1: 30}, 'validation': {1: 5}})
    path = tmp_path / 'tiny' / 'manifest.json'
    manifest = json.loads(path.read_text())
    manifest['splits']['train']['clicks'] = {'d1': 0}
    path.write_text(json.dumps(manifest))
    assert base_log_odds(
        Examples(open_dataset(str(tmp_path / 'tiny')), 'train')
    ) == pytest.approx(math.log(0.5 / 30.5))
    manifest['splits']['train'].update(clicks={}, examples={})
    path.write_text(json.dumps(manifest))
    assert base_log_odds(Examples(open_dataset(str(tmp_path / 'tiny')), 'train')) == 0


@pytest.mark.parametrize(
    'name',
    [
        name
        for name in MODELS
        if name not in ('ctnet', 'dual_embedding', 'mlp_pp', 'minet', 'ddtcdr', 'dasl')
    ],
)
def test_every_model_adds_it_to_every_logit(name):
    keras.utils.set_random_seed(1)
    model = build_model(
        make_manifest(), ModelConfig(name=name, embedding_dim=4, hidden_units=[8, 4])
    )
    batch = make_batch(np.random.default_rng(0), 9)
    batch['domain'][0] = 0
    before = model(batch).numpy()
    model.set_prior(-3.0)
    np.testing.assert_allclose(model(batch), before - 3, atol=1e-5)
    assert all(variable is not model.prior_logit for variable in model.trainable_variables)


def test_a_run_starts_at_it_and_keeps_it(dataset, tmp_path):
    directory, _ = dataset
    config = TrainConfig(model=MODEL, epochs=1, batch_size=256, learning_rate=1e-6)
    exported = train(directory, str(tmp_path / 'run'), config)
    assert check_golden(exported) is None
    expected = base_log_odds(Examples(open_dataset(directory), 'train'))
    model = load_model(exported).model
    assert float(model.prior_logit) == pytest.approx(expected)
    more = extend_model(model, make_manifest(5))
    assert float(more.prior_logit) == pytest.approx(expected)
    with open(os.path.join(exported, 'model.json'), encoding='utf-8') as file:
        overall = json.load(file)['validation']['overall']
    predicted = overall['pcoc'] * overall['clicks'] / overall['impressions']
    assert predicted == pytest.approx(1 / (1 + math.exp(-expected)), abs=0.01)
    again = train(
        directory,
        str(tmp_path / 'again'),
        config,
        domains=['d2'],
        warm_start=WarmStart(exported),
    )
    assert float(load_model(again).model.prior_logit) == pytest.approx(expected)
    fresh = train(
        directory,
        str(tmp_path / 'fresh'),
        config,
        domains=['d2'],
        warm_start=WarmStart(exported, 'embeddings'),
    )
    assert float(load_model(fresh).model.prior_logit) == pytest.approx(
        base_log_odds(Examples(open_dataset(directory), 'train', domains=['d2']))
    )
    assert read_manifest(directory).splits['train'].clicks['d2']

"""Exports that earlier versions wrote, with keys that have been renamed since."""

import json
import os
import shutil

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.renamed_keys import with_new_names
from tests.trainer.trainer_dataset import write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.export.load import load_model
from trainer.export.structure import read_structure
from trainer.frameworks.mamdr import MAMDR
from trainer.train import train

# A `structure` as it was written before keys were renamed: CTNet with an MLP as its source.
FEATURES = [
    {
        'name': 'user_id',
        'kind': 'categorical',
        'owner': 'user',
        'size': 9,
        'vocabulary': 'user_id',
    },
    {
        'name': 'item_id',
        'kind': 'categorical',
        'owner': 'item',
        'size': 7,
        'vocabulary': 'item_id',
    },
]
MODEL = {
    'embedding_dim': 4,
    'hidden_units': [8],
    'normalization': None,
    'auxiliary': True,
    'dropout': 0.0,
    'id_dropout': 0.0,
    'embedding_l2': 0.0,
    'numeric_slopes': False,
    'exclude': ['age'],
}
OLD = {
    'dataset': 'shops',
    'fingerprint': 'abc',
    'config': {
        **MODEL,
        'name': 'ctnet',
        'options': {
            'adapter_scale': 0.1,
            'tower_exclude': ['item_id'],
            'remembered_mib': 3,
            'tower_options': {'retrieved': 5, 'heads': 2},
        },
    },
    'features': FEATURES,
    'domains': ['a', 'b'],
    'vocabularies': {'user_id': {'size': 9, 'sha256': 'x'}},
    'source': {
        'dataset': 'shops',
        'fingerprint': 'abc',
        'config': {**MODEL, 'name': 'cross_stitch', 'options': {'own': 0.5}},
        'features': FEATURES,
        'domains': ['a'],
        'vocabularies': {},
        'source': None,
    },
}


def test_an_old_record_is_read_under_the_new_names():
    structure = read_structure(json.loads(json.dumps(OLD)), 'model.json')
    assert structure.config == ModelConfig(
        name='ctnet',
        embedding_dim=4,
        hidden_units=[8],
        auxiliary_network=True,
        exclude_features=['age'],
        options={
            'adapter_stddev': 0.1,
            'source_only_features': ['item_id'],
            'source_cache_mib': 3,
            'target_tower_options': {'top_k': 5, 'heads': 2},
        },
    )
    assert structure.source.config.options == {'same_domain_weight': 0.5}
    assert structure.source.config.exclude_features == ['age']


def test_a_damaged_record_is_one_sentence():
    with pytest.raises(UserError, match=r'^model.json: the key domains is missing'):
        read_structure({key: OLD[key] for key in OLD if key != 'domains'}, 'model.json')


def test_options_of_a_framework_are_read_under_the_new_names():
    old = {'helpers': 2, 'outer_rate': 0.5, 'inner_options': {}, 'inner_optimizer': 'sgd'}
    assert with_new_names(MAMDR.Options, old) == {
        'helper_domains': 2,
        'outer_learning_rate': 0.5,
        'inner_optimizer_options': {},
        'inner_optimizer': 'sgd',
    }


def test_an_old_export_scores_as_it_did(tmp_path):
    dataset, old = str(tmp_path / 'dataset'), str(tmp_path / 'old')
    write_dataset(dataset, {'train': {1: 60, 2: 30}, 'validation': {1: 20, 2: 9}})
    config = TrainConfig(
        model=ModelConfig(
            name='cross_stitch',
            embedding_dim=2,
            hidden_units=[4],
            exclude_features=['age'],
            options={'same_domain_weight': 0.7},
        ),
        epochs=1,
        batch_size=32,
    )
    export = train(dataset, str(tmp_path / 'run'), config)
    shutil.copytree(export, old)
    path = os.path.join(old, 'model.json')
    with open(path, encoding='utf-8') as file:
        described = json.load(file)
    for model in (described['structure']['config'], described['config']['model']):
        model['exclude'] = model.pop('exclude_features')
        model['auxiliary'] = model.pop('auxiliary_network')
        model['options'] = {'own': 0.7}
    described['config']['stop_by'] = described['config'].pop('early_stopping_metric')
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(described, file)
    batch = next(Examples(open_dataset(dataset), 'train', exclude=['age']).epoch(0, 16))
    np.testing.assert_array_equal(load_model(old).model(batch), load_model(export).model(batch))

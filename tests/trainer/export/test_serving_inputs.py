"""What exported signatures make of inputs: exact numbers, ids in range, equal lengths."""

import dataclasses
import json
import os

import numpy as np
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.manifest import read_manifest, write_manifest
from tests.parameters import slow_except
from tests.trainer.trainer_dataset import make_batch, write_dataset
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.export import preprocessing
from trainer.export.golden import check_golden, read_golden
from trainer.export.golden_batch import make_golden_batch
from trainer.export.preprocessing import RawFeatureEncoder
from trainer.export.saved_model import export_model
from trainer.keras import keras, tf
from trainer.models import build_model
from trainer.train import train

MODEL = ModelConfig(name='mlp', embedding_dim=4, hidden_units=[8])
CONFIG = TrainConfig(model=MODEL, batch_size=64, epochs=1, learning_rate=0.05)
EPOCH_SECONDS = [1791000114.0, 1791000227.0, 1791000336.0]


def dataset_with(directory, **changes):
    """A dataset whose feature `age` has other boundaries, or whose manifest is changed."""
    directory = str(directory)
    write_dataset(directory)
    manifest = read_manifest(directory)
    boundaries = changes.pop('boundaries', None)
    features = [
        dataclasses.replace(feature, boundaries=boundaries)
        if boundaries and feature.name == 'age'
        else feature
        for feature in manifest.features
    ]
    write_manifest(directory, dataclasses.replace(manifest, features=features, **changes))
    return open_dataset(directory)


def export(dataset, directory, split='validation'):
    keras.utils.set_random_seed(1)
    examples = Examples(dataset, split)
    model = build_model(dataset.manifest, MODEL)
    return export_model(model, str(directory), examples, CONFIG, {}, 1)


@pytest.fixture(scope='module')
def joint(dataset, tmp_path_factory):
    config = CONFIG.replace(model=MODEL.replace(name='star'))
    return train(dataset, str(tmp_path_factory.mktemp('run')), config)


@pytest.fixture(scope='module')
def domain_specific(dataset, tmp_path_factory):
    config = CONFIG.replace(framework='mamdr')
    return train(dataset, str(tmp_path_factory.mktemp('run')), config)


@pytest.fixture(params=['joint', 'domain_specific'])
def exported(request):
    return request.getfixturevalue(request.param)


def encoded(exported, rows):
    signature = tf.saved_model.load(exported).signatures['encoded']
    ids = {name: tf.constant(values, tf.int64) for name, values in rows.items()}
    return signature(**ids)['score'].numpy()


def ids_of(size=40):
    rows = make_batch(np.random.default_rng(0), size)
    return {name: values.astype(np.int64) for name, values in rows.items()}


@pytest.mark.parametrize('name', ['user_id', 'item_id', 'age', 'history', 'domain'])
@pytest.mark.parametrize('offset', slow_except([2**32, 2**33, -(2**32)], {2**32}))
def test_an_id_beyond_32_bits_is_unseen(exported, name, offset):
    rows = ids_of()
    rows[name] = np.maximum(rows[name], 1)
    beyond = rows[name] + offset
    # A negative id of a sequence is padding, wherever it is.
    unseen = -1 if name == 'history' and offset < 0 else 0
    expected = encoded(exported, {**rows, name: np.full_like(rows[name], unseen)})
    assert np.abs(expected - encoded(exported, rows)).max() > 1e-6
    np.testing.assert_array_equal(encoded(exported, {**rows, name: beyond}), expected)


@pytest.mark.parametrize('name', ['domain', 'item_id', 'genres'])
@pytest.mark.parametrize('rows', [5, 41])
def test_encoded_inputs_of_different_lengths_are_refused(exported, name, rows):
    inputs = ids_of()
    inputs[name] = np.resize(inputs[name], (rows, *inputs[name].shape[1:]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=f'{name}.*rows'):
        encoded(exported, inputs)


@pytest.mark.parametrize('name', ['domain', 'item_id', 'age', 'genres'])
def test_raw_inputs_of_different_lengths_are_refused(exported, name):
    raw, _ = read_golden(exported)
    signature = tf.saved_model.load(exported).signatures['serving_default']
    inputs = {key: tf.constant(values) for key, values in raw.items()}
    inputs[name] = inputs[name][:5]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f'{name}.*rows'):
        signature(**inputs)


@pytest.mark.parametrize(
    ('boundaries', 'values'),
    [
        (EPOCH_SECONDS, [1791000100.0, 1791000150.0, 1791000230.0, 1791000330.0]),
        ([16777217.0, 16777219.0, 2e7], [16777216.0, 16777217.0, 16777218.0, 16777219.0]),
        ([0.1, 0.2, 0.4], [0.1, 0.2, 0.3, 0.4]),
        ([1.0, 1e300, 1.7e308], [1e299, 1e300, 1.7e308, -1.7e308]),
    ],
)
def test_numbers_have_the_buckets_of_the_dataset(tmp_path, boundaries, values):
    dataset = dataset_with(tmp_path / 'data', boundaries=boundaries)
    exported = export(dataset, tmp_path / 'export')
    assert check_golden(exported) is None
    age = [feature for feature in dataset.manifest.features if feature.name == 'age']
    encoder = RawFeatureEncoder(dataset, age, dataset.manifest.domains)
    raw = {'age': np.array(values), 'domain': np.full(len(values), 'd1', object)}
    signature = tf.saved_model.load(exported).signatures['serving_default']
    dtype = signature.structured_input_signature[1]['age'].dtype
    ids = encoder({'age': tf.constant(raw['age'], dtype), 'domain': tf.constant(raw['domain'])})
    expected = 1 + np.searchsorted(boundaries, values, side='right')
    np.testing.assert_array_equal(ids['age'], expected)


def test_the_golden_batch_has_numbers_on_both_sides_of_every_boundary(tmp_path):
    dataset = dataset_with(tmp_path / 'data', boundaries=EPOCH_SECONDS)
    golden = make_golden_batch(Examples(dataset, 'train'))
    numbers = set(golden.raw['age'].tolist())
    for boundary in EPOCH_SECONDS:
        assert boundary in numbers and np.nextafter(boundary, -np.inf) in numbers
    known = golden.ids['age'] > 0
    expected = 1 + np.searchsorted(EPOCH_SECONDS, golden.raw['age'][known], side='right')
    np.testing.assert_array_equal(golden.ids['age'][known], expected)


def test_an_export_whose_signatures_disagree_is_refused(tmp_path, monkeypatch):
    """By float32, numbers of this size get other buckets: the whole split is compared."""
    dataset = dataset_with(tmp_path / 'data', boundaries=EPOCH_SECONDS)
    monkeypatch.setattr(preprocessing, 'NUMBER', tf.float32)
    with pytest.raises(UserError, match='scores row .* by raw values .* by ids'):
        export(dataset, tmp_path / 'export')
    assert not os.path.exists(tmp_path / 'export')


def test_vocabularies_that_do_not_match_the_examples_are_refused(tmp_path, monkeypatch):
    dataset = dataset_with(tmp_path / 'data')
    lookup = RawFeatureEncoder._ids

    def shifted(self, feature, values):
        ids = lookup(self, feature, values)
        return tf.where(ids > 1, ids - 1, ids) if feature.name == 'item_id' else ids

    monkeypatch.setattr(RawFeatureEncoder, '_ids', shifted)
    with pytest.raises(UserError, match='scores row .* by raw values .* by ids'):
        export(dataset, tmp_path / 'export')


def calendar_dataset(directory, utc_offset):
    """A dataset whose `item_id` is the column `hour`, and whose `genres` is `weekday`."""
    dataset = dataset_with(directory)
    names = {'item_id': 'hour', 'user_id': 'weekday'}
    for vocabulary, count in (('item_id', 24), ('user_id', 7)):
        others = dataset.vocabulary(vocabulary)[count:]
        with open(dataset.path(f'vocabulary/{vocabulary}.txt'), 'w') as file:
            file.writelines(f'{value}\n' for value in [*reversed(range(count)), *others])
    config = {
        'utc_offset': utc_offset,
        'features': [{'name': name, 'column': column} for name, column in names.items()],
    }
    manifest = dataclasses.replace(dataset.manifest, config=config, files={})
    write_manifest(dataset.directory, manifest)
    return open_dataset(dataset.directory)


@pytest.mark.parametrize('utc_offset', [0.0, 8.0, -3.5])
def test_a_timestamp_gives_hour_and_weekday(tmp_path, utc_offset):
    import datetime

    dataset = calendar_dataset(tmp_path / 'data', utc_offset)
    exported = export(dataset, tmp_path / 'export', 'train')
    with open(os.path.join(exported, 'model.json'), encoding='utf-8') as file:
        description = json.load(file)
    assert description['utc_offset'] == utc_offset
    inputs = description['signatures']['serving_timestamp']
    assert 'item_id' not in inputs and 'user_id' not in inputs
    assert f'UTC{utc_offset:+g}' in description['signatures']['serving_default']['item_id']
    signatures = tf.saved_model.load(exported).signatures
    assert set(signatures['serving_timestamp'].structured_input_signature[1]) == set(inputs)

    seconds = np.random.default_rng(0).integers(0, 4_000_000_000, 50).astype(np.float64)
    zone = datetime.timezone(datetime.timedelta(hours=utc_offset))
    local = [datetime.datetime.fromtimestamp(second, zone) for second in seconds]
    others = {
        'genres': tf.fill([50, 2], 'g1'),
        'history': tf.fill([50, 1], '3'),
        'age': tf.fill([50], tf.constant(20.0, tf.float64)),
        'domain': tf.fill([50], 'd1'),
    }
    expected = signatures['serving_default'](
        item_id=tf.constant([str(time.hour) for time in local]),
        user_id=tf.constant([str(time.weekday()) for time in local]),
        **others,
    )['score'].numpy()
    assert len(np.unique(expected)) > 20
    scores = signatures['serving_timestamp'](timestamp=tf.constant(seconds), **others)['score']
    np.testing.assert_array_equal(scores.numpy(), expected)
    missing = signatures['serving_timestamp'](
        timestamp=tf.fill([50], tf.constant(np.nan, tf.float64)), **others
    )['score']
    unknown = signatures['serving_default'](
        item_id=tf.fill([50], ''), user_id=tf.fill([50], ''), **others
    )['score']
    np.testing.assert_array_equal(missing, unknown)


def test_without_calendar_features_there_is_no_timestamp_signature(joint):
    signatures = tf.saved_model.load(joint).signatures
    assert set(signatures) == {'serving_default', 'encoded'}

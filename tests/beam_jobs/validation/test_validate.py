"""Validation of tiny datasets, sound and spoiled in one way each."""

import os
import pathlib
import re

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from beam_jobs.build.statistics import sample_path, statistics_path
from beam_jobs.validation.config import DataValidationConfig
from beam_jobs.validation.validate import validate_dataset
from mdctr.errors import UserError
from mdctr.settings import parse
from tests.beam_jobs.tiny_dataset import ITEMS, make_rows, write_dataset

CONFIG = DataValidationConfig()


@pytest.fixture
def splits():
    return {'train': make_rows(1200, 0), 'test': make_rows(800, 1)}


def validate(tmp_path, splits, config=CONFIG, **manifest):
    dataset = write_dataset(tmp_path / 'dataset', splits, statistics=True, **manifest)
    return validate_dataset(dataset, str(tmp_path / 'out'), config)


def failed(validation):
    return [(c.check, c.domain, c.quantity) for c in validation.changes if c.failed]


def test_a_sound_dataset_passes_and_every_feature_is_compared(tmp_path, splits):
    found = validate(tmp_path, splits)
    assert found.anomalies == [] and found.warnings == []
    assert found.message == 'The dataset tiny is sound.'
    shares = [
        np.bincount(of['item_id'], minlength=13) / len(of['item_id']) for of in splits.values()
    ]
    worst = int(np.abs(shares[1] - shares[0]).argmax())
    change = next(c for c in found.changes if c.check == 'item_id')
    assert change.quantity == (
        f'share of i{worst}' if worst else 'share of unseen or missing values'
    )
    assert (change.before, change.after) == pytest.approx([of[worst] for of in shares])
    assert {c.check for c in found.changes} >= {'user_id', 'item_id', 'age', 'genres', 'domain'}
    assert found.comparisons > 50


def test_drift_of_a_feature_in_one_domain_fails_and_names_the_value(tmp_path, splits):
    second = splits['test']['domain'] == 2
    splits['test']['item_id'][second & (np.arange(800) % 3 > 0)] = 7
    found = validate(tmp_path, splits)
    assert ('item_id', 'b|x', 'share of i7') in failed(found)
    assert any(
        re.match(
            r'test, domain b\|x: item_id drifted from train: the share of i7 changed from '
            r'0\.\d+ to 0\.\d+, and a change of 0.2 is allowed',
            anomaly,
        )
        for anomaly in found.anomalies
    )
    assert all('domain a' not in anomaly for anomaly in found.anomalies)
    assert found.message.startswith('The dataset tiny is not sound: test')


def test_drift_of_a_number_names_its_range(tmp_path, splits):
    splits['test']['age'][:] = 3
    found = validate(tmp_path, splits)
    assert any('numbers below 30' in anomaly for anomaly in found.anomalies)


def test_drift_of_the_domains_themselves(tmp_path, splits):
    splits['test']['domain'] = np.sort(np.r_[np.ones(780, int), np.full(20, 2)])
    found = validate(tmp_path, splits)
    assert failed(found) == [
        ('domain', 'a', 'share of the rows'),
        ('domain', 'b|x', 'share of the rows'),
    ]
    assert 'the domain b|x has 2.50% of the rows, and' in found.anomalies[1]


@pytest.mark.parametrize(
    'config',
    [
        DataValidationConfig(feature_max_share_change={'item_id': None}),
        DataValidationConfig(feature_max_share_change={'item_id': 0.9}),
        DataValidationConfig(max_share_change=None),
        DataValidationConfig(max_share_change=0.9),
    ],
)
def test_allowed_changes_by_feature_and_off(tmp_path, splits, config):
    splits['test']['item_id'][np.arange(800) % 2 == 0] = 7
    assert validate(tmp_path, splits, config).anomalies == []


def test_users_and_hours_drift_by_nature_unless_they_are_named(tmp_path, splits):
    splits['test']['user_id'][:] = 0
    splits['test']['age'][:] = 1
    described = {'features': [{'name': 'age', 'column': 'hour'}, {'name': 'user_id'}]}
    dataset = write_dataset(tmp_path / 'dataset', splits, statistics=True, config=described)
    assert validate_dataset(dataset, str(tmp_path / 'o'), CONFIG).anomalies == []
    strict = DataValidationConfig(feature_max_share_change={'user_id': 0.2, 'age': 0.2})
    found = validate_dataset(dataset, str(tmp_path / 'o'), strict)
    assert any('user_id drifted' in a and 'unseen' in a for a in found.anomalies)
    assert any('age drifted' in a for a in found.anomalies)


def test_a_few_rows_without_a_list_are_no_anomaly(tmp_path, splits):
    """One row without tags stopped a pipeline, since no row of training was without."""
    some = np.array([1])
    for columns in splits.values():
        columns['genres'] = [ids if len(ids) else some for ids in columns['genres']]
    splits['test']['genres'][5] = np.array([], int)
    assert validate(tmp_path, splits).anomalies == []


def test_lists_that_are_all_empty_are_an_anomaly(tmp_path, splits):
    splits['test']['genres'] = [np.array([], int)] * 800
    found = validate(tmp_path, splits)
    assert ('genres', None, 'share of empty lists') in failed(found)


def test_an_id_out_of_bounds_is_an_anomaly(tmp_path, splits):
    splits['test']['item_id'][3] = ITEMS + 5
    found = validate(tmp_path, splits)
    assert len(found.anomalies) == 1
    assert re.match(r'test: item_id: .*large value: 17', found.anomalies[0])


def test_a_sequence_in_the_place_of_one_value(tmp_path, splits):
    splits['test']['age'] = [np.array([1, 2])] * 800
    found = validate(tmp_path, splits)
    assert found.anomalies and all('age' in anomaly for anomaly in found.anomalies)


def test_a_feature_that_is_missing(tmp_path, splits):
    del splits['test']['age']
    found = validate(tmp_path, splits)
    assert any(anomaly.startswith('test: age: ') for anomaly in found.anomalies)


def test_the_schema_is_written_and_can_be_given(tmp_path, splits):
    from google.protobuf import text_format

    validate(tmp_path, splits)
    path = tmp_path / 'out' / 'schema.pbtxt'
    schema = text_format.Parse(path.read_text(), schema_pb2.Schema())
    by_name = {feature.name: feature for feature in schema.feature}
    assert (by_name['item_id'].int_domain.min, by_name['item_id'].int_domain.max) == (0, ITEMS)
    assert by_name['item_id'].int_domain.is_categorical
    by_name['item_id'].int_domain.max = 5
    path.write_text(text_format.MessageToString(schema))
    found = validate_dataset(
        str(tmp_path / 'dataset'),
        str(tmp_path / 'again'),
        DataValidationConfig(schema_path=str(path)),
    )
    assert {anomaly.split(':')[0] for anomaly in found.anomalies} == {'train', 'test'}
    assert all('item_id' in anomaly for anomaly in found.anomalies)


def test_a_small_domain_without_clicks_is_a_warning(tmp_path, splits):
    few = np.flatnonzero(splits['test']['domain'] == 1)[8:]
    splits['test'] = {
        name: np.delete(np.asarray(values, object if name == 'genres' else int), few, axis=0)
        for name, values in splits['test'].items()
    }
    splits['test']['click'][splits['test']['domain'] == 1] = 0
    config = DataValidationConfig(max_domain_share_change=None, max_domain_share_ratio=None)
    found = validate(tmp_path, splits, config)
    assert found.anomalies == []
    assert len(found.warnings) == 1
    assert re.match(r'test: the domain a has 8 impressions and no click', found.warnings[0])


def test_the_report_says_what_was_found_and_needs_no_network(tmp_path, splits):
    splits['test']['item_id'][:] = 7
    found = validate(tmp_path, splits)
    text = (tmp_path / 'out' / 'report.html').read_text()
    assert 'Not sound' in text and 'b|x' in text and '1,200' in text
    for anomaly in found.anomalies:
        assert anomaly in text
    assert not re.search(r'(src|href)\s*=|url\(|@import|https?://', text)


def test_same_inputs_same_bytes(tmp_path, splits):
    dataset = write_dataset(tmp_path / 'dataset', splits, statistics=True)
    for name in ('one', 'two'):
        validate_dataset(dataset, str(tmp_path / name), CONFIG)
    for name in ('schema.pbtxt', 'report.html'):
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()


@pytest.mark.parametrize(
    ('key', 'hint'),
    [
        ('drift_threshold', 'it is now called max_share_change'),
        ('domain_drift', 'it is now called max_domain_share_change'),
        ('min_examples', 'remove it: small domains are compared by tests'),
    ],
)
def test_old_keys_are_refused_with_what_to_do(key, hint):
    with pytest.raises(UserError, match=f'unknown key {key}; {hint}'):
        parse(DataValidationConfig, {key: 0.5}, 'shops.yaml')


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (DataValidationConfig(test_split='holdout'), 'no split holdout; it has train, test'),
        (
            DataValidationConfig(schema_path='/nowhere/schema.pbtxt'),
            'The schema /nowhere.* cannot be read',
        ),
    ],
)
def test_what_is_not_there(tmp_path, splits, config, message):
    with pytest.raises(UserError, match=message):
        validate(tmp_path, splits, config)


def test_statistics_that_are_missing(tmp_path, splits):
    with pytest.raises(UserError, match='does not list statistics/train.pb: build it again'):
        validate_dataset(
            write_dataset(tmp_path / 'without', splits), str(tmp_path / 'out'), CONFIG
        )
    dataset = write_dataset(tmp_path / 'dataset', splits, statistics=True)
    os.remove(sample_path(dataset, 'test'))
    with pytest.raises(UserError, match=r'test.parquet is damaged \(it is missing\)'):
        validate_dataset(dataset, str(tmp_path / 'out'), CONFIG)
    with pytest.raises(UserError, match='not contain a complete dataset'):
        validate_dataset(str(tmp_path / 'none'), str(tmp_path / 'out'), CONFIG)


@pytest.mark.parametrize('path_of', [statistics_path, sample_path])
def test_statistics_and_samples_with_a_changed_byte_are_not_used(tmp_path, splits, path_of):
    dataset = write_dataset(tmp_path / 'dataset', splits, statistics=True)
    changed = pathlib.Path(path_of(dataset, 'test'))
    content = bytearray(changed.read_bytes())
    content[content.index(b'user_id')] ^= 1  # can still be read, as another feature
    changed.write_bytes(content)
    with pytest.raises(UserError, match=f'{changed.name} is damaged .its contents have'):
        validate_dataset(dataset, str(tmp_path / 'out'), CONFIG)

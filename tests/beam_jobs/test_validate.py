"""Validation of tiny datasets, sound and spoiled in one way each."""

import re

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2
from tiny_dataset import ITEMS, make_rows, write_dataset

from beam_jobs.errors import UserError
from beam_jobs.judge_config import ValidateConfig
from beam_jobs.validate import validate_dataset

CONFIG = ValidateConfig(min_rows=100)


@pytest.fixture
def splits():
    return {'train': make_rows(1200, 0), 'test': make_rows(800, 1)}


def validate(tmp_path, splits, config=CONFIG, **manifest):
    dataset = write_dataset(tmp_path / 'dataset', splits, statistics=True, **manifest)
    return validate_dataset(dataset, str(tmp_path / 'out'), config)


def distances(validation, feature):
    return {drift.domain: drift.distance for drift in validation.drift
            if drift.feature == feature}


def shares(columns, name, mine):
    values = columns[name]
    values = (np.concatenate([ids for ids, inside in zip(values, mine, strict=True) if inside])
              if name == 'genres' else values[mine])
    return np.bincount(values, minlength=50) / len(values)


def test_a_sound_dataset_passes_and_every_distance_is_measured(tmp_path, splits):
    found = validate(tmp_path, splits)
    assert found.anomalies == [] and found.warnings == []
    assert found.message == 'The dataset tiny is sound.'
    for name in ('item_id', 'age', 'genres', 'user_id'):
        for domain, number in (('a', 1), ('b|x', 2), (None, None)):
            before, after = (shares(of, name, of['domain'] == number if number else
                                    np.ones(len(of['domain']), bool))
                             for of in splits.values())
            assert distances(found, name)[domain] == pytest.approx(
                np.abs(before - after).max(), abs=1e-6)
    assert list(distances(found, 'domain')) == [None]


def test_drift_of_a_feature_in_one_domain_fails_and_names_the_value(tmp_path, splits):
    second = splits['test']['domain'] == 2
    splits['test']['item_id'][second & (np.arange(800) % 2 == 0)] = 7
    found = validate(tmp_path, splits)
    assert any(re.match(r'test, domain b\|x: item_id drifted from train: the share of i7 '
                        r'differs by 0\.\d+, and 0.3 is allowed', anomaly)
               for anomaly in found.anomalies)
    assert all('domain a' not in anomaly for anomaly in found.anomalies)
    assert found.message.startswith('The dataset tiny is not sound: test') and (
        found.message.count('.') == found.message.count('0.') + 1)


def test_drift_of_a_number_names_its_range(tmp_path, splits):
    splits['test']['age'][:] = 2
    found = validate(tmp_path, splits)
    assert any('numbers from 18 below 30' in anomaly for anomaly in found.anomalies)


def test_drift_of_the_domains_themselves(tmp_path, splits):
    splits['test']['domain'] = np.sort(np.r_[np.ones(780, int), np.full(20, 2)])
    found = validate(tmp_path, splits)
    assert len(found.anomalies) == 1 and 'domain drifted from train' in found.anomalies[0]


@pytest.mark.parametrize('config', [
    ValidateConfig(min_rows=100, feature_drift={'item_id': None}),
    ValidateConfig(min_rows=100, feature_drift={'item_id': 0.9}),
    ValidateConfig(min_rows=100, drift=None), ValidateConfig(min_rows=100, drift=0.9)])
def test_thresholds_by_feature_and_off(tmp_path, splits, config):
    splits['test']['item_id'][np.arange(800) % 2 == 0] = 7
    assert validate(tmp_path, splits, config).anomalies == []


def test_users_and_hours_drift_by_nature_unless_they_are_named(tmp_path, splits):
    splits['test']['user_id'][:] = 0
    splits['test']['age'][:] = 1
    described = {'features': [{'name': 'age', 'column': 'hour'}, {'name': 'user_id'}]}
    dataset = write_dataset(tmp_path / 'dataset', splits, statistics=True, config=described)
    assert validate_dataset(dataset, str(tmp_path / 'o'), CONFIG).anomalies == []
    strict = ValidateConfig(min_rows=100, feature_drift={'user_id': 0.2, 'age': 0.2})
    found = validate_dataset(dataset, str(tmp_path / 'o'), strict)
    assert any('user_id drifted' in a and 'unseen' in a for a in found.anomalies)
    assert any('age drifted' in a for a in found.anomalies)


def test_domains_with_few_rows_are_not_judged(tmp_path, splits):
    second = splits['test']['domain'] == 2
    splits['test']['item_id'][second] = 7
    config = ValidateConfig(min_rows=700, drift=0.55)
    assert validate(tmp_path, splits, config).anomalies == []


def test_an_id_out_of_bounds_is_an_anomaly(tmp_path, splits):
    splits['test']['item_id'][3] = ITEMS + 5
    found = validate(tmp_path, splits)
    assert len(found.anomalies) == 1
    assert re.match(r'test: item_id: .*large value: 17', found.anomalies[0])


def test_a_sequence_in_the_place_of_one_value(tmp_path, splits):
    splits['test']['age'] = [[1, 2]] * 800
    found = validate(tmp_path, splits, ValidateConfig(min_rows=100, drift=None))
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
    found = validate_dataset(str(tmp_path / 'dataset'), str(tmp_path / 'again'),
                             ValidateConfig(schema=str(path), min_rows=100))
    assert {anomaly.split(':')[0] for anomaly in found.anomalies} == {'train', 'test'}
    assert all('item_id' in anomaly for anomaly in found.anomalies)


def test_warnings_of_clicks_fail_nothing(tmp_path, splits):
    splits['test']['click'][splits['test']['domain'] == 1] = 0
    rare = np.arange(800) % 20 != 0
    splits['test']['click'][(splits['test']['domain'] == 2) & rare] = 0
    found = validate(tmp_path, splits)
    assert found.anomalies == []
    assert len(found.warnings) == 2
    assert re.match(r'test: the domain a has \d+ impressions and no click', found.warnings[0])
    assert 'CTR of the domain b|x' in found.warnings[1]


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


@pytest.mark.parametrize(('config', 'message'), [
    (ValidateConfig(test='holdout'), 'no split holdout; it has train, test'),
    (ValidateConfig(schema='/nowhere/schema.pbtxt'), 'The schema /nowhere.* cannot be read')])
def test_what_is_not_there(tmp_path, splits, config, message):
    with pytest.raises(UserError, match=message):
        validate(tmp_path, splits, config)


def test_statistics_that_are_missing_or_broken(tmp_path, splits):
    dataset = write_dataset(tmp_path / 'dataset', splits)
    with pytest.raises(UserError, match='no statistics of the split train'):
        validate_dataset(dataset, str(tmp_path / 'out'), CONFIG)
    (tmp_path / 'dataset' / 'statistics').mkdir()
    (tmp_path / 'dataset' / 'statistics' / 'train.pb').write_bytes(b'\xff\xff')
    with pytest.raises(UserError, match='holds no statistics'):
        validate_dataset(dataset, str(tmp_path / 'out'), CONFIG)
    with pytest.raises(UserError, match='no complete dataset'):
        validate_dataset(str(tmp_path / 'none'), str(tmp_path / 'out'), CONFIG)

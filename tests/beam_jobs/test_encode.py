"""Rows and items to ids, and the columns that hold them."""

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.config import DatasetConfig, FeatureConfig, SplitConfig
from beam_jobs.dataset import Feature
from beam_jobs.draws import hash_strings
from beam_jobs.encode import Encoder, record_batch, stack, take
from beam_jobs.examples import Lists
from beam_jobs.vocabulary import Lookup

CONFIG = DatasetConfig(
    reader='none', domain=['scene'], split=SplitConfig(by='user', fractions=(1, 0, 0)),
    features=[FeatureConfig('user_id', owner='user'), FeatureConfig('item_id', owner='item'),
              FeatureConfig('price', 'numeric', owner='item'),
              FeatureConfig('tags', 'sequence', owner='item', length=3),
              FeatureConfig('recent', 'history', of='item_id', length=2),
              FeatureConfig('recent_t', 'history', of='item_id', domains=['t', 'x'], length=2)])
VOCABULARIES = {'user_id': ['u', 'v'], 'item_id': ['j', 'i'], 'tags': ['a', 'b'],
                'domain': ['s']}


@pytest.fixture
def encoder(tmp_path):
    for name, values in VOCABULARIES.items():
        Lookup.write(str(tmp_path / name), pa.array(values))
    features = [Feature('user_id', 'categorical', 'user', 3, 'user_id'),
                Feature('item_id', 'categorical', 'item', 3, 'item_id'),
                Feature('price', 'numeric', 'item', 4, boundaries=[1.0, 2.0]),
                Feature('tags', 'sequence', 'item', 3, 'tags', 3),
                Feature('recent', 'sequence', 'context', 3, 'item_id', 2, history=True),
                Feature('recent_t', 'sequence', 'context', 3, 'item_id', 2, history=True,
                        domains=['t', 'x'])]
    return Encoder(CONFIG, features, {name: str(tmp_path / name) for name in VOCABULARIES})


def table() -> pa.Table:
    def coded(values):
        return pa.array(values).dictionary_encode()
    return pa.table({
        'user': coded(['u', 'u', 'u', 'new']), 'item': coded(['i', 'j', 'new', 'i']),
        'domain': coded(['s', 's', 't', 's']), 'timestamp': [1.5, 2.0, 3.999, 4.0],
        'click': [1, 1, 0, 1], 'feature.price': [0.5, 1.0, None, 7.0],
        'feature.tags': [['a'], [], ['new', 'b', 'a'], ['b']]})


def plain(ids) -> dict[str, list]:
    return {name: [column.values[a:b].tolist() for a, b in zip(
        column.offsets[:-1], column.offsets[1:], strict=True)]
        if isinstance(column, Lists) else column.tolist() for name, column in ids.items()}


def test_what_a_negative_shares_with_its_positive(encoder):
    users = hash_strings(pa.array(['u', 'new'])).view(np.int64).tolist()
    assert plain(encoder.rows(table())) == {
        'domain': [1, 1, 0, 1], 'timestamp': [1, 2, 3, 4],
        'user_key': [users[0]] * 3 + [users[1]], 'user_id': [1, 1, 1, 0],
        'recent': [[], [2], [1, 2], []], 'recent_t': [[], [], [], []]}


def test_a_history_of_some_domains_has_no_clicks_of_others(encoder):
    rows = table().set_column(2, 'domain', pa.array(['t', 's', 't', 's']).dictionary_encode())
    assert plain(encoder.rows(rows))['recent_t'] == [[], [2], [2], []]


def test_what_belongs_to_the_item(encoder):
    assert plain(encoder.items(table())) == {
        'item_id': [2, 1, 0, 2], 'price': [1, 2, 0, 3],
        'tags': [[1], [], [0, 2, 1], [2]]}


def test_taking_stacking_and_batches(encoder):
    ids = encoder.items(table())
    both = stack(take(ids, np.array([2, 0])), ids)
    expected = plain(ids)
    assert plain(both) == {name: [values[2], values[0], *values]
                           for name, values in expected.items()}
    batch = record_batch(both)
    assert batch.schema.field('tags').type == pa.list_(pa.int64())
    assert batch.to_pydict() == {name: [v if isinstance(v, list) else [v] for v in values]
                                 for name, values in plain(both).items()}

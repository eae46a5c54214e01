"""Rows and items to ids, and the columns that hold them."""

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    HistoryFeature,
    NumericFeature,
    SequenceFeature,
    SplitConfig,
)
from beam_jobs.features.encode import Encoder
from beam_jobs.features.ids import Lists, concatenate, example_columns, id_lists
from beam_jobs.features.lookup import Lookup
from beam_jobs.rows.random_draws import hash_strings
from mdctr.manifest import Feature

CONFIG = DatasetConfig(
    reader='none',
    domain_columns=['scene'],
    split=SplitConfig(by='user', fractions=(1, 0, 0)),
    features=[
        CategoricalFeature(name='user_id', owner='user'),
        CategoricalFeature(name='item_id', owner='item'),
        NumericFeature(name='price', owner='item'),
        SequenceFeature(name='tags', owner='item', max_length=3),
        HistoryFeature(name='recent', feature='item_id', max_length=2),
        HistoryFeature(name='recent_t', feature='item_id', domains=['t', 'x'], max_length=2),
    ],
)
VOCABULARIES = {
    'user_id': ['u', 'v'],
    'item_id': ['j', 'i'],
    'tags': ['a', 'b'],
    'domain': ['s'],
}


@pytest.fixture
def encoder(tmp_path):
    for name, values in VOCABULARIES.items():
        Lookup.write(str(tmp_path / name), pa.array(values))
    features = [
        Feature('user_id', 'categorical', 'user', 3, 'user_id'),
        Feature('item_id', 'categorical', 'item', 3, 'item_id'),
        Feature('price', 'numeric', 'item', 4, boundaries=[1.0, 2.0]),
        Feature('tags', 'sequence', 'item', 3, 'tags', 3),
        Feature('recent', 'sequence', 'context', 3, 'item_id', 2, history=True),
        Feature(
            'recent_t', 'sequence', 'context', 3, 'item_id', 2, history=True, domains=['t', 'x']
        ),
    ]
    return Encoder(CONFIG, features, {name: str(tmp_path / name) for name in VOCABULARIES})


def table() -> pa.Table:
    def coded(values):
        return pa.array(values).dictionary_encode()

    return pa.table(
        {
            'user': coded(['u', 'u', 'u', 'new']),
            'item': coded(['i', 'j', 'new', 'i']),
            'domain': coded(['s', 's', 't', 's']),
            'timestamp': [1.5, 2.0, 3.999, 4.0],
            'click': [1, 1, 0, 1],
            'feature.price': [0.5, 1.0, None, 7.0],
            'feature.tags': [['a'], [], ['new', 'b', 'a'], ['b']],
        }
    )


def plain(ids) -> dict[str, list]:
    return {
        name: [
            column.values[a:b].tolist()
            for a, b in zip(column.offsets[:-1], column.offsets[1:], strict=True)
        ]
        if isinstance(column, Lists)
        else column.tolist()
        for name, column in ids.items()
    }


def test_what_a_negative_shares_with_its_positive(encoder):
    users = hash_strings(pa.array(['u', 'new'])).view(np.int64).tolist()
    assert plain(encoder.shared(table(), np.ones(4, bool))) == {
        'domain': [1, 1, 0, 1],
        'timestamp': [1, 2, 3, 4],
        'user_key': [users[0]] * 3 + [users[1]],
        'user_id': [1, 1, 1, 0],
        'recent': [[], [2], [1, 2], []],
        'recent_t': [[], [], [], []],
    }


def test_a_history_of_some_domains_has_no_clicks_of_others(encoder):
    rows = table().set_column(2, 'domain', pa.array(['t', 's', 't', 's']).dictionary_encode())
    assert plain(encoder.shared(rows, np.ones(4, bool)))['recent_t'] == [[], [2], [2], []]


def test_a_history_contains_visible_rows_only(encoder):
    visible = np.array([True, False, True, True])
    assert plain(encoder.shared(table(), visible))['recent'] == [[], [2], [2], []]


def test_what_belongs_to_the_item(encoder):
    assert plain(encoder.item(table())) == {
        'item_id': [2, 1, 0, 2],
        'price': [1, 2, 0, 3],
        'tags': [[1], [], [0, 2, 1], [2]],
    }


def test_stacking(encoder):
    ids = encoder.item(table())
    both = concatenate(ids, ids)
    expected = plain(ids)
    assert plain(both) == {name: [*values, *values] for name, values in expected.items()}


def test_ids_as_columns_of_examples_and_for_tfdv(encoder):
    ids = encoder.item(table())
    columns = example_columns(ids)
    assert columns.schema.field('tags').type == pa.list_(pa.int32())
    assert columns.schema.field('price').type == pa.int32()
    rows = pa.Table.from_batches([columns.slice(0, 1), columns.slice(1)])
    assert rows.to_pydict() == plain(ids)
    batch = id_lists(rows)
    assert {field.type for field in batch.schema} == {pa.list_(pa.int64())}
    assert batch.to_pydict() == {
        name: [v if isinstance(v, list) else [v] for v in values]
        for name, values in plain(ids).items()
    }

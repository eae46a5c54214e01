"""The as-of join of items' properties, against a search through all rows."""

import bisect
import collections

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    NumericFeature,
    SequenceFeature,
    SplitConfig,
    StatisticFeature,
)
from beam_jobs.features.encode import Encoder
from beam_jobs.features.item_versions import (
    ItemVersions,
    encode_versions,
    item_columns,
    merge_versions,
)
from beam_jobs.features.lookup import Lookup
from beam_jobs.rows.columns import encode_texts
from mdctr.manifest import Feature

CONFIG = DatasetConfig(
    reader='none',
    domain_columns=['scene'],
    split=SplitConfig(by='user', fractions=(1, 0, 0)),
    features=[
        CategoricalFeature(name='user_id', owner='user'),
        CategoricalFeature(name='item_id', owner='item'),
        CategoricalFeature(name='brand', owner='item'),
        NumericFeature(name='price', owner='item'),
        SequenceFeature(name='tags', owner='item', max_length=3),
        StatisticFeature(name='brand_ctr', group_by='brand'),
    ],
)
FEATURES = [
    Feature('user_id', 'categorical', 'user', 3, 'user_id'),
    Feature('item_id', 'categorical', 'item', 30, 'item_id'),
    Feature('brand', 'categorical', 'item', 4, 'brand'),
    Feature('price', 'numeric', 'item', 5, boundaries=[1.0, 2.0, 3.0]),
    Feature('tags', 'sequence', 'item', 5, 'tags', 3),
    Feature('brand_ctr', 'numeric', 'context', 4, boundaries=[0.1, 0.2]),
]
VOCABULARIES = {
    'user_id': [],
    'item_id': [f'i{n}' for n in range(0, 20, 2)],
    'brand': ['b0', 'b1', 'b2'],
    'tags': ['t0', 't1', 't2', 't3'],
}


@pytest.fixture
def encoder(tmp_path) -> Encoder:
    for name, values in VOCABULARIES.items():
        Lookup.write(str(tmp_path / name), pa.array(values, pa.string()))
    return Encoder(CONFIG, FEATURES, {name: str(tmp_path / name) for name in VOCABULARIES})


def random_rows(rows: int, items: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    item = rng.integers(0, items, rows)
    state = rng.integers(0, 3, rows)
    return pa.table(
        {
            'item': [f'i{n}' for n in item],
            'timestamp': rng.choice(10 * rows, rows, replace=False).astype(float),
            'key': rng.integers(0, 2**63, rows).astype(np.uint64),
            'feature.brand': [
                None if n == 2 else f'b{n + i % 2}' for n, i in zip(state, item, strict=True)
            ],
            'feature.price': [
                float(n) if i % 3 else None for n, i in zip(state, item, strict=True)
            ],
            'feature.tags': [
                [f't{n}', f't{i % 4}'][:n] for n, i in zip(state, item, strict=True)
            ],
        }
    )


def versions_of(tmp_path, rows: pa.Table, encoder: Encoder, parts: int) -> ItemVersions:
    items = sorted(set(rows['item'].to_pylist()))
    Lookup.write(str(tmp_path / 'items'), pa.array(items))
    number = np.array([items.index(item) for item in rows['item'].to_pylist()])
    lookup, tables = Lookup(str(tmp_path / 'items')), []
    for part in range(parts):
        some = encode_texts(rows.filter(pa.array(number % parts == part)))
        tables.append(encode_versions(some, encoder, lookup))
    merge_versions(str(tmp_path / 'all'), tables[::-1])
    return ItemVersions(str(tmp_path / 'all'))


def plain(ids) -> list[tuple]:
    tags = ids['tags']
    lists = [
        tags.values[a:b].tolist()
        for a, b in zip(tags.offsets[:-1], tags.offsets[1:], strict=True)
    ]
    return list(
        zip(
            ids['item_id'].tolist(),
            ids['brand'].tolist(),
            ids['price'].tolist(),
            lists,
            strict=True,
        )
    )


@pytest.mark.parametrize('parts', [1, 3])
def test_a_version_is_that_of_the_last_row_at_or_before_the_time(tmp_path, encoder, parts):
    rows = random_rows(600, 13)
    assert item_columns(CONFIG) == rows.column_names
    versions = versions_of(tmp_path, rows, encoder, parts)
    by_item = collections.defaultdict(list)
    in_time = rows.take(pa.array(np.argsort(rows['timestamp'].to_numpy())))
    encoded = plain(encoder.item(encode_texts(in_time)))
    for row, ids in zip(in_time.to_pylist(), encoded, strict=True):
        by_item[row['item']].append((row['timestamp'], ids))
    rng = np.random.default_rng(1)
    item = rng.integers(0, 13, 3000)
    at_a_row = rng.choice(rows['timestamp'].to_numpy(), 1000)
    time = np.concatenate([at_a_row, rng.random(1000) * 6000, np.full(1000, -1.0)])
    found = plain(versions.take(versions.as_of(item, time))[0])
    names = sorted(by_item)
    for number, when, ids in zip(item, time, found, strict=True):
        history = by_item[names[number]]
        place = bisect.bisect_right([at for at, _ in history], when)
        assert ids == history[max(place - 1, 0)][1]  # before the first row: as in the first


def test_hashes_are_those_of_the_raw_values(tmp_path, encoder):
    rows = random_rows(60, 5)
    versions = versions_of(tmp_path, rows, encoder, 1)
    by_time = encode_texts(rows)
    number = np.array([int(item[1:]) for item in rows['item'].to_pylist()])
    _, hashes = versions.take(versions.as_of(number, rows['timestamp'].to_numpy()))
    expected, has_value = encoder.item_hashes(by_time)['feature.brand']
    assert hashes['feature.brand'][0].tolist() == expected.tolist()
    assert hashes['feature.brand'][1].tolist() == has_value.tolist()
    assert not has_value.all()


def test_properties_that_do_not_change_are_one_version(tmp_path, encoder):
    rows = random_rows(400, 6).drop(['feature.brand', 'feature.price', 'feature.tags'])
    item = rows['item'].to_pylist()
    rows = rows.append_column('feature.brand', [['b1'] * 400])
    # A price rises within its bucket, at last beyond it.
    price = np.where(
        rows['timestamp'].to_numpy() < 3900, rows['timestamp'].to_numpy() / 4000, 1.5
    )
    rows = rows.append_column('feature.price', [price])
    rows = rows.append_column('feature.tags', [[[f't{len(name)}'] for name in item]])
    versions = versions_of(tmp_path, rows, encoder, 2)
    late = {name for name, p in zip(item, price, strict=True) if p > 1}
    assert 0 < len(late) <= len(set(item)) == 6
    assert versions.as_of(np.array([5]), np.array([1e9])).tolist() == [6 + len(late) - 1]

"""Whole builds, against a plain computation of the same dataset, row by row."""

import collections
import datetime
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    HistoryFeature,
    NumericFeature,
    SamplingConfig,
    SequenceFeature,
    SplitConfig,
)
from mdctr.dataset import open_dataset
from mdctr.dataset_versions import list_versions
from mdctr.errors import UserError
from tests.beam_jobs.examples_by_hand import read_examples
from tests.beam_jobs.log_in_memory import TableReader

DAY = 86400
START = 1_650_240_000  # 2022-04-18
FEATURES = [
    CategoricalFeature(name='user_id', owner='user'),
    CategoricalFeature(name='item_id', owner='item'),
    CategoricalFeature(name='category', owner='item', min_count=2),
    NumericFeature(name='price', owner='item', buckets=4),
    SequenceFeature(name='tags', owner='item', max_length=2),
    HistoryFeature(name='clicks', feature='item_id', max_length=3),
    HistoryFeature(name='scene_clicks', feature='category', scope='domain', max_length=4),
    HistoryFeature(name='scenes', feature='domain', max_length=2),
    HistoryFeature(name='clicks_s1', feature='item_id', domains=['s1'], max_length=3),
    HistoryFeature(
        name='categories_s02', feature='category', domains=['s2', 's0'], max_length=2
    ),
    CategoricalFeature(name='hour'),
    CategoricalFeature(name='weekday'),
]
DAYS = SplitConfig(
    by='days',
    days={
        'train': ('2022-04-18', '2022-04-21'),
        'validation': ('2022-04-22', '2022-04-22'),
        'test': ('2022-04-23', '2022-04-23'),
    },
)


def config(**changes) -> DatasetConfig:
    settings = {
        'reader': 'none',
        'domain_columns': ['scene'],
        'features': FEATURES,
        'split': DAYS,
        'user_buckets': 3,
        'seed': 5,
    }
    return DatasetConfig(**(settings | changes))


def random_log(rows: int = 1500, seed: int = 0, clicks: float = 0.4) -> pa.Table:
    """Few users and coarse times, so that ties and repeats happen; items own their features."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, 40, rows)
    return pa.table(
        {
            'user_id': [f'u{n}' for n in rng.integers(0, 25, rows)],
            'item_id': [f'i{n}' for n in item],
            'scene': [f's{n}' for n in rng.integers(0, 3, rows)],
            'timestamp': START + rng.integers(0, 7 * 24, rows) * 3600,
            'click': (rng.random(rows) < clicks).astype(np.int64),
            'category': [None if n % 13 == 5 else f'c{n % 7}' for n in item],
            'price': [None if n % 11 == 3 else float(n % 9) for n in item],
            'tags': [[f't{k}' for k in range(n % 4)] for n in item],
        }
    )


def build(tmp_path, config, table, **options):
    manifest = build_dataset(
        config,
        'test',
        str(tmp_path / 'dataset'),
        str(tmp_path),
        progress=False,
        reader=TableReader(table, **options),
    ).manifest
    return manifest, str(tmp_path / 'dataset')


def impressions(table: pa.Table) -> list[dict]:
    """The rows without repeats, a click winning, in the order of time."""
    seen = {}
    for row in table.to_pylist():
        key = row['user_id'], row['item_id'], row['scene'], row['timestamp']
        if key not in seen or row['click'] > seen[key]['click']:
            seen[key] = row
    return sorted(seen.values(), key=lambda row: row['timestamp'])


def time_of(row: dict) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(row['timestamp'], datetime.UTC)


def split_of(row: dict) -> str | None:
    day = time_of(row).date().isoformat()
    return next(
        (name for name, (first, last) in DAYS.days.items() if first <= day <= last), None
    )


def vocabulary(values: list, min_count: int = 1) -> dict[str, int]:
    counts = collections.Counter(value for value in values if value)
    ordered = sorted((-count, value) for value, count in counts.items() if count >= min_count)
    return {value: number for number, (_, value) in enumerate(ordered, start=1)}


def past(
    row: dict,
    rows: list[dict],
    length: int,
    value: str,
    same_scene: bool = False,
    scenes: str = 's0 s1 s2',
) -> list:
    """Values of the user's last clicks before the row's time; among ties, the order of
    (scene, item) is the order of time."""
    clicks = [
        other
        for other in rows
        if other['user_id'] == row['user_id']
        and other['click']
        and other['timestamp'] < row['timestamp']
        and other[value]
        and (not same_scene or other['scene'] == row['scene'])
        and other['scene'] in scenes.split()
    ]
    clicks.sort(key=lambda other: (other['timestamp'], other['scene'], other['item_id']))
    return [other[value] for other in reversed(clicks)][:length]


def expected_examples(table: pa.Table) -> dict[str, list[dict]]:
    """The dataset without sampling, worked out one row at a time."""
    rows = impressions(table)
    train = [row for row in rows if split_of(row) == 'train']
    items = vocabulary([row['item_id'] for row in train])
    categories = vocabulary([row['category'] for row in train], min_count=2)
    tags = vocabulary([tag for row in train for tag in row['tags'][:2]])
    users = vocabulary([row['user_id'] for row in train])
    scenes = vocabulary([row['scene'] for row in train])
    hours = vocabulary([str(time_of(row).hour) for row in train])
    weekdays = vocabulary([str(time_of(row).weekday()) for row in train])
    prices = sorted(row['price'] for row in train if row['price'] is not None)
    cuts = sorted(
        {prices[int(np.ceil(k / 4 * len(prices))) - 1] for k in (1, 2, 3)} - {prices[0]}
    )
    examples = collections.defaultdict(list)
    for row in rows:
        examples[split_of(row)].append(
            {
                'user_id': [users.get(row['user_id'], 0)],
                'item_id': [items.get(row['item_id'], 0)],
                'domain': [scenes.get(row['scene'], 0)],
                'timestamp': [row['timestamp']],
                'click': [row['click']],
                'category': [categories.get(row['category'], 0)],
                'price': [
                    0 if row['price'] is None else 1 + sum(c <= row['price'] for c in cuts)
                ],
                'tags': [tags[tag] for tag in row['tags'][:2]],
                'clicks': [items.get(v, 0) for v in past(row, rows, 3, 'item_id')],
                'scene_clicks': [
                    categories.get(v, 0) for v in past(row, rows, 4, 'category', True)
                ],
                'scenes': [scenes.get(v, 0) for v in past(row, rows, 2, 'scene')],
                'clicks_s1': [
                    items.get(v, 0) for v in past(row, rows, 3, 'item_id', scenes='s1')
                ],
                'categories_s02': [
                    categories.get(v, 0) for v in past(row, rows, 2, 'category', scenes='s0 s2')
                ],
                'hour': [hours.get(str(time_of(row).hour), 0)],
                'weekday': [weekdays.get(str(time_of(row).weekday()), 0)],
            }
        )
    return examples


def as_multiset(examples: list[dict], names: list[str]) -> collections.Counter:
    return collections.Counter(
        json.dumps([example[name] for name in names]) for example in examples
    )


def test_without_sampling_every_example_is_as_worked_out_by_hand(tmp_path):
    table = random_log()
    manifest, dataset = build(tmp_path, config(), table)
    expected = expected_examples(table)
    for split in ('train', 'validation', 'test'):
        examples = read_examples(dataset, split)
        names = list(expected[split][0])
        assert set(names) | {'user_key'} == set(examples[0])
        assert as_multiset(examples, names) == as_multiset(expected[split], names)
        by_scene = collections.Counter(
            row['scene'] for row in impressions(table) if split_of(row) == split
        )
        assert manifest.splits[split].examples == dict(by_scene)
    assert manifest.rows.duplicates == table.num_rows - len(impressions(table)) > 0
    assert manifest.rows.outside_splits == len(expected[None]) > 0
    assert manifest.rows.read == table.num_rows
    assert open_dataset(dataset).manifest == manifest


def test_the_files_metadata_say_where_the_rows_of_each_domain_are(tmp_path):
    _, dataset = build(tmp_path, config(), random_log())
    for split in ('train', 'test'):
        rows = read_examples(dataset, split)
        for path in open_dataset(dataset).example_files(split):
            metadata = pq.read_metadata(path)
            here, rows = rows[: metadata.num_rows], rows[metadata.num_rows :]
            domains = json.loads(metadata.metadata[b'mdctr.domains'])
            assert sum(count for *_, count in domains) == metadata.num_rows
            for domain, first, count in domains:
                assert {row['domain'][0] for row in here[first : first + count]} == {domain}
        assert not rows


def test_sampled_negatives_are_exact_and_never_what_the_user_knows(tmp_path):
    table = random_log(clicks=1.0)
    of_scene = collections.defaultdict(set)
    for row in table.to_pylist():
        of_scene[row['scene']].add(row['item_id'])
    manifest, dataset = build(
        tmp_path,
        config(sampling=SamplingConfig(ctr_ratio={'s0': 0.5, 's1': 0.3, 's2': 2.0})),
        table,
    )
    users, items = (
        open_dataset(dataset).vocabulary('user_id'),
        open_dataset(dataset).vocabulary('item_id'),
    )
    categories = open_dataset(dataset).vocabulary('category')
    positives, negatives = collections.Counter(), collections.Counter()
    for split in ('train', 'validation', 'test'):
        end = datetime.date.fromisoformat(DAYS.days[split][1])
        known = collections.defaultdict(set)
        for row in table.to_pylist():
            if time_of(row).date() <= end:
                known[row['user_id']].add(row['item_id'])
        examples = read_examples(dataset, split)
        at = {
            (e['user_id'][0], e['domain'][0], e['timestamp'][0]): e
            for e in examples
            if e['click'] == [1]
        }
        for example in examples:
            scene = manifest.domains[example['domain'][0] - 1].name
            (positives if example['click'][0] else negatives)[scene] += 1
            if example['click'][0]:
                continue
            user, item = users[example['user_id'][0] - 1], items[example['item_id'][0] - 1]
            assert item not in known[user] and item in of_scene[scene]
            positive = at[example['user_id'][0], example['domain'][0], example['timestamp'][0]]
            for name in ('clicks', 'scene_clicks', 'scenes', 'hour', 'weekday', 'user_key'):
                assert example[name] == positive[name]
            number = int(item[1:])
            category = f'c{number % 7}' if number % 13 != 5 else None
            assert example['category'] == [categories.index(category) + 1 if category else 0]
            assert len(example['tags']) == min(number % 4, 2)
    for scene, ratio in (('s0', 0.5), ('s1', 0.3), ('s2', 2.0)):
        assert negatives[scene] == int(positives[scene] / ratio + 0.5)
    assert manifest.rows.sampled_negatives == sum(negatives.values())
    assert manifest.ctr_ratios == {'s0': 0.5, 's1': 0.3, 's2': 2.0}


def test_down_sampling_keeps_every_click(tmp_path):
    table = random_log(4000)
    manifest, _ = build(tmp_path, config(sampling=SamplingConfig(keep_negatives=0.25)), table)
    inside = [row for row in impressions(table) if split_of(row)]
    clicks = sum(row['click'] for row in inside)
    assert sum(sum(s.clicks.values()) for s in manifest.splits.values()) == clicks
    share = (manifest.rows.kept - clicks) / (len(inside) - clicks)
    assert abs(share - 0.25) < 0.04
    assert manifest.rows.down_sampled == len(inside) - manifest.rows.kept
    assert manifest.keep_negatives == 0.25


def test_same_fingerprint_is_not_built_again(tmp_path):
    table = random_log(300)
    build(tmp_path, config(), table)
    first = open_dataset(str(tmp_path / 'dataset')).directory
    before = os.stat(os.path.join(first, 'manifest.json')).st_mtime_ns
    build(tmp_path, config(), table)
    assert os.stat(os.path.join(first, 'manifest.json')).st_mtime_ns == before
    build(tmp_path, config(seed=6), table)
    assert open_dataset(str(tmp_path / 'dataset')).directory != first
    assert sorted(list_versions(str(tmp_path / 'dataset'))) == sorted(
        os.path.basename(path)
        for path in (first, open_dataset(str(tmp_path / 'dataset')).directory)
    )


def test_too_many_rejected_rows_fail_with_the_commonest_reason(tmp_path):
    table = random_log(200)
    clicks = table['click'].to_pylist()
    clicks[7:17] = [2] * 10
    table = table.set_column(4, 'click', pa.array(clicks))
    with pytest.raises(UserError, match='10 of 200.*"click not 0 or 1".*log.csv:8'):
        build(tmp_path, config(), table)
    assert list_versions(str(tmp_path / 'dataset')) == []

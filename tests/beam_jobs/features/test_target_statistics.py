"""Statistics of the days before, against a plain count over the raw rows."""

import collections

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.build.extend import extend_dataset
from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    HistoryFeature,
    SamplingConfig,
    SplitConfig,
    StatisticFeature,
)
from beam_jobs.features.target_statistics import DailyCounts
from beam_jobs.rows.mergeable import TableCounts
from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from tests.beam_jobs.build.test_build import (
    DAYS,
    START,
    as_multiset,
    impressions,
    random_log,
    vocabulary,
)
from tests.beam_jobs.build.test_build_runners import checksums
from tests.beam_jobs.examples_by_hand import read_examples
from tests.beam_jobs.log_in_memory import TableReader

DAY = 86400
STATISTICS = [
    StatisticFeature(name='item_ctr', owner='item', group_by='item_id', buckets=8),
    StatisticFeature(
        name='item_count', owner='item', group_by='item_id', aggregation='count', buckets=6
    ),
    StatisticFeature(
        name='user_scene_ctr',
        owner='user',
        group_by=['user_id', 'domain'],
        buckets=8,
        smoothing=3.5,
    ),
    StatisticFeature(
        name='category_ctr', owner='item', group_by='category', buckets=5, smoothing=0.0
    ),
    StatisticFeature(
        name='user_category_count',
        owner='user',
        group_by=['user_id', 'category'],
        aggregation='count',
        buckets=9,
    ),
]
FEATURES = [
    CategoricalFeature(name='user_id', owner='user'),
    CategoricalFeature(name='item_id', owner='item'),
    CategoricalFeature(name='category', owner='item'),
    HistoryFeature(name='skipped', feature='item_id', max_length=3, events='skipped'),
    HistoryFeature(name='shown', feature='item_id', max_length=3, events='shown'),
    HistoryFeature(name='known', feature='item_id', max_length=3, as_of='day'),
    *STATISTICS,
]


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


def build(directory, table, shards=2, **changes):
    manifest = build_dataset(
        config(**changes),
        'test',
        str(directory),
        '',
        progress=False,
        reader=TableReader(table, shards=shards),
    ).manifest
    return manifest, str(directory)


def day_of(row: dict, utc_offset: float = 0) -> int:
    return int((row['timestamp'] - START + 3600 * utc_offset) // DAY)


def value_of(row: dict, feature: StatisticFeature) -> tuple | None:
    names = [feature.group_by] if isinstance(feature.group_by, str) else feature.group_by
    values = tuple(row['scene' if name == 'domain' else name] for name in names)
    return None if None in values else values


def statistic(row: dict, feature: StatisticFeature, rows: list[dict], utc_offset=0) -> float:
    """What the rows of earlier days say; NaN where they say nothing."""
    value = value_of(row, feature)
    before = [
        other
        for other in rows
        if value_of(other, feature) is not None
        and day_of(other, utc_offset) < day_of(row, utc_offset)
    ]
    same = [other for other in before if value_of(other, feature) == value]
    if value is None:
        return np.nan
    if feature.aggregation == 'count':
        return float(len(same))
    if not same:
        return np.nan
    rate = sum(other['click'] for other in before) / len(before)
    return (sum(other['click'] for other in same) + feature.smoothing * rate) / (
        len(same) + feature.smoothing
    )


def cuts(numbers: list[float], buckets: int) -> list[float]:
    there = sorted(number for number in numbers if not np.isnan(number))
    found = {
        there[int(np.ceil(round(k / buckets * len(there), 6))) - 1] for k in range(1, buckets)
    }
    return sorted(found - {there[0]})


def bucket(number: float, at: list[float]) -> int:
    return 0 if np.isnan(number) else 1 + sum(cut <= number for cut in at)


def expected(table: pa.Table, manifest, utc_offset: float = 0) -> list[dict]:
    """Each impression with its statistics' ids, and its day."""
    rows = impressions(table)
    made = []
    for row in rows:
        ids = {'timestamp': [row['timestamp']], 'click': [row['click']]}
        for feature in STATISTICS:
            at = manifest.feature(feature.name).boundaries
            ids[feature.name] = [bucket(statistic(row, feature, rows, utc_offset), at)]
        made.append(ids | {'day': day_of(row, utc_offset)})
    return made


def test_statistics_are_what_earlier_days_say(tmp_path):
    table = random_log(500)
    manifest, dataset = build(tmp_path / 'dataset', table)
    rows = impressions(table)
    train = [row for row in rows if 0 <= day_of(row) <= 3]
    for feature in STATISTICS:
        of = manifest.feature(feature.name)
        assert (of.kind, of.owner, of.vocabulary) == ('numeric', feature.owner, None)
        numbers = [statistic(row, feature, rows) for row in train]
        np.testing.assert_allclose(of.boundaries, cuts(numbers, feature.buckets), rtol=1e-12)
        assert of.size == len(of.boundaries) + 2 > 2
    examples = expected(table, manifest)
    names = [name for name in examples[0] if name != 'day']
    for split, days in (('train', range(4)), ('validation', [4]), ('test', [5])):
        assert as_multiset(read_examples(dataset, split), names) == as_multiset(
            [example for example in examples if example['day'] in days], names
        )


def test_a_split_may_see_what_was_known_when_it_began(tmp_path):
    table = random_log(500)
    frozen = STATISTICS[2].replace(as_of='split')
    days = SplitConfig(
        by='days',
        days={
            'train': DAYS.days['train'],
            'test': (DAYS.days['validation'][0], DAYS.days['test'][1]),
        },
    )
    manifest, dataset = build(
        tmp_path / 'dataset', table, split=days, features=[*FEATURES[:3], frozen]
    )
    rows = impressions(table)
    at = manifest.feature(frozen.name).boundaries
    for split, wanted in (('train', range(4)), ('test', [4, 5])):
        seen = []
        for row in (row for row in rows if day_of(row) in wanted):
            as_of = row if split == 'train' else row | {'timestamp': START + 4 * DAY}
            seen.append(
                {
                    'timestamp': [row['timestamp']],
                    'click': [row['click']],
                    frozen.name: [bucket(statistic(as_of, frozen, rows), at)],
                }
            )
        assert as_multiset(read_examples(dataset, split), list(seen[0])) == as_multiset(
            seen, list(seen[0])
        )
    daily, _ = build(
        tmp_path / 'daily', table, split=days, features=[*FEATURES[:3], STATISTICS[2]]
    )
    assert daily.features[3].boundaries == at  # training days see the days before each


def test_nothing_of_the_day_itself_or_later_is_known(tmp_path):
    table = random_log(500)
    later = table['timestamp'].to_numpy() >= START + 4 * DAY
    clicks = np.where(later, 1 - table['click'].to_numpy(), table['click'].to_numpy())
    turned = table.set_column(4, 'click', pa.array(clicks))
    names = [feature.name for feature in STATISTICS] + ['known', 'timestamp']
    (_, one), (_, other) = (
        build(tmp_path / name, log) for name, log in (('one', table), ('other', turned))
    )
    for split in ('train', 'validation'):  # the test's day knows the validation's
        assert as_multiset(read_examples(one, split), names) == as_multiset(
            read_examples(other, split), names
        )
    assert as_multiset(read_examples(one, 'test'), names) != as_multiset(
        read_examples(other, 'test'), names
    )


def test_histories_of_what_was_skipped_shown_and_known_the_day_before(tmp_path):
    table = random_log(500)
    _, dataset = build(tmp_path / 'dataset', table)
    rows = impressions(table)
    items = vocabulary([row['item_id'] for row in rows if 0 <= day_of(row) <= 3])

    def past(row, wanted):
        found = [
            other for other in rows if other['user_id'] == row['user_id'] and wanted(other, row)
        ]
        found.sort(key=lambda other: (other['timestamp'], other['scene'], other['item_id']))
        return [items.get(other['item_id'], 0) for other in reversed(found)][:3]

    examples = [
        {
            'timestamp': [row['timestamp']],
            'skipped': past(
                row, lambda a, b: a['timestamp'] < b['timestamp'] and not a['click']
            ),
            'shown': past(row, lambda a, b: a['timestamp'] < b['timestamp']),
            'known': past(row, lambda a, b: day_of(a) < day_of(b) and a['click']),
        }
        for row in rows
        if day_of(row) == 5
    ]
    assert as_multiset(read_examples(dataset, 'test'), list(examples[0])) == as_multiset(
        examples, list(examples[0])
    )


def test_sampled_negatives_have_the_statistics_of_their_own_items(tmp_path):
    table = random_log(1000)
    manifest, dataset = build(
        tmp_path / 'dataset', table, sampling=SamplingConfig(ctr_ratio=0.5)
    )
    rows = impressions(table)
    users, items = (
        open_dataset(dataset).vocabulary('user_id'),
        open_dataset(dataset).vocabulary('item_id'),
    )
    category = {row['item_id']: row['category'] for row in rows}
    negatives = [
        example
        for example in read_examples(dataset, 'test')
        if example['click'] == [0] and example['item_id'] != [0]
    ]
    assert len(negatives) > 50
    for example in negatives:
        item = items[example['item_id'][0] - 1]
        row = {
            'user_id': users[example['user_id'][0] - 1],
            'item_id': item,
            'category': category[item],
            'timestamp': example['timestamp'][0],
            'scene': manifest.domains[example['domain'][0] - 1].name,
        }
        for feature in STATISTICS:
            at = manifest.feature(feature.name).boundaries
            assert example[feature.name] == [bucket(statistic(row, feature, rows), at)]


def test_the_same_bytes_however_the_log_is_read(tmp_path):
    table = random_log(500)
    order = np.random.default_rng(3).permutation(table.num_rows)
    for name, log, shards in (('one', table, 2), ('other', table.take(pa.array(order)), 5)):
        build(tmp_path / name, log, shards)
    one, other = (checksums(str(tmp_path / name)) for name in ('one', 'other'))
    assert one == other


def test_an_extended_dataset_counts_all_days_before(tmp_path):
    table = random_log(500)
    last = table['timestamp'].to_numpy() >= START + 6 * DAY
    days = SplitConfig(by='days', days=DAYS.days | {'next': ('2022-04-24', '2022-04-24')})
    build(tmp_path / 'whole', table, split=days)
    build(tmp_path / 'base', table.filter(~last), extendable=True)
    extend_dataset(
        str(tmp_path / 'base'),
        'next',
        days.days['next'],
        None,
        '',
        progress=False,
        reader=TableReader(table.filter(last)),
    )
    whole, extended = (checksums(str(tmp_path / name)) for name in ('whole', 'base'))
    examples = [name for name in whole if name.startswith('examples')]
    assert len(examples) > 4 and all(whole[name] == extended[name] for name in examples)


def test_days_that_begin_elsewhere_and_domains_that_are_left_out(tmp_path):
    table = random_log(500)
    manifest, dataset = build(tmp_path / 'dataset', table, utc_offset=8.0, domains=['s0', 's2'])
    rows = impressions(table)
    examples = [
        example
        for example, row in zip(expected(table, manifest, 8), rows, strict=True)
        if row['scene'] != 's1' and example['day'] == 5
    ]
    names = [name for name in examples[0] if name != 'day']
    assert as_multiset(read_examples(dataset, 'test'), names) == as_multiset(examples, names)
    assert sorted(domain.name for domain in manifest.domains) == ['s0', 's2']
    inside = [row for row in rows if row['scene'] != 's1' and 0 <= day_of(row, 8) <= 5]
    assert manifest.rows.kept == len(inside)
    assert manifest.rows.outside_splits == len(rows) - len(inside)
    items = collections.Counter(row['item_id'] for row in inside if day_of(row, 8) < 4)
    assert set(open_dataset(dataset).vocabulary('item_id')) == set(items)
    with pytest.raises(UserError, match='domains names s7.* it has s0, s1, s2'):
        build(tmp_path / 'refused', table, domains=['s0', 's7'])


def test_counts_before_days_that_no_row_has(tmp_path):
    counts = TableCounts(
        pa.table(
            {
                'key': [-4, -4, 9],
                'day': [10, 13, 11],
                'rows': [5, 2, 4],
                'clicks': [2, 1, 0],
                'trained': [5, 2, 4],
            }
        ),
        2,
    )
    path = str(tmp_path / 'past' / 'x.arrow')
    DailyCounts.write(path, counts)
    past = DailyCounts(path)
    keys, days = np.array([-4, -4, -4, -4, 9, 9, 3]), np.array([9, 10, 13, 99, 11, 12, 99])
    rows, clicks = past.before(keys, days)
    assert rows.tolist() == [0, 0, 5, 7, 0, 4, 0]
    assert clicks.tolist() == [0, 0, 2, 3, 0, 0, 0]
    np.testing.assert_allclose(
        past.overall_rate(np.array([5, 10, 11, 12, 14, 99])),
        [np.nan, np.nan, 2 / 5, 2 / 9, 3 / 11, 3 / 11],
    )
    DailyCounts.write(path, TableCounts(counts.table.slice(0, 0), 2))
    assert DailyCounts(path).before(keys, days)[0].tolist() == [0] * 7
    assert np.isnan(DailyCounts(path).overall_rate(days)).all()


def test_it_combines_categorical_features():
    with pytest.raises(ValueError, match='must be a categorical feature'):
        config(
            features=[*FEATURES, StatisticFeature(name='x', group_by=['item_id', 'skipped'])]
        )

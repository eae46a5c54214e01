"""Nothing in an example comes from after its impression, or from held-out rows.

Worked out by hand from the rows of random logs, and by changing what an example must not
depend on: then not a byte of it may change.
"""

import collections
import datetime

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.build.extend import extend_dataset
from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    HistoryFeature,
    NumericFeature,
    SamplingConfig,
    SequenceFeature,
    SplitConfig,
    StatisticFeature,
)
from mdctr.dataset import open_dataset
from mdctr.manifest import Manifest
from tests.beam_jobs.build.test_build_runners import checksums
from tests.beam_jobs.examples_by_hand import read_examples
from tests.beam_jobs.log_in_memory import TableReader

DAY = 86400
START = 1_650_240_000  # 2022-04-18
FEATURES = [
    CategoricalFeature(name='user_id', owner='user'),
    CategoricalFeature(name='item_id', owner='item'),
    CategoricalFeature(name='category', owner='item'),
    NumericFeature(name='price', owner='item', buckets=8),
    SequenceFeature(name='tags', owner='item', max_length=2),
    HistoryFeature(name='clicks', feature='item_id', max_length=4),
    HistoryFeature(name='shown', feature='item_id', max_length=4, events='shown'),
    StatisticFeature(name='item_ctr', owner='item', group_by='item_id', buckets=6),
    StatisticFeature(
        name='category_count', owner='item', group_by='category', aggregation='count'
    ),
    StatisticFeature(name='user_ctr', owner='user', group_by='user_id', buckets=6),
]
DAYS = {'train': ('2022-04-18', '2022-04-21'), 'test': ('2022-04-22', '2022-04-23')}
BY_DAYS = SplitConfig(by='days', days=DAYS)
BY_TIME = SplitConfig(by='time', fractions=(0.55, 0.2, 0.25))
BY_PERIODS = SplitConfig(by='periods', periods=2, period_days=2)
BY_USER = SplitConfig(by='user', fractions=(0.6, 0.2, 0.2))


def random_log(rows: int = 1500, seed: int = 0, click_rate: float = 0.5) -> pa.Table:
    """Seven days, every row at a second of its own; items arrive and change every day."""
    rng = np.random.default_rng(seed)
    second = np.sort(rng.choice(7 * DAY, rows, replace=False))
    day = second // DAY
    item = rng.integers(0, 20 + 8 * day)
    state = item * 7 + day * rng.integers(0, 2, rows)  # some rows show an older state again
    return pa.table(
        {
            'user_id': [f'u{n}' for n in rng.integers(0, 25, rows)],
            'item_id': [f'i{n}' for n in item],
            'scene': [f's{n}' for n in rng.integers(0, 3, rows)],
            'timestamp': START + second,
            'click': (rng.random(rows) < click_rate).astype(np.int64),
            'category': [f'c{n % 11}' for n in state],
            'price': [float(n % 13) for n in state],
            'tags': [[f't{n % 5}', f't{n % 3}'][: n % 3] for n in state],
        }
    )


def config(**changes) -> DatasetConfig:
    settings = {
        'reader': 'none',
        'domain_columns': ['scene'],
        'features': FEATURES,
        'split': BY_DAYS,
        'sampling': SamplingConfig(ctr_ratio=0.25),
        'user_buckets': 3,
        'seed': 5,
    }
    return DatasetConfig(**(settings | changes))


def build(directory, table: pa.Table, **changes) -> Manifest:
    return build_dataset(
        config(**changes),
        'test',
        str(directory),
        '',
        progress=False,
        reader=TableReader(table),
    ).manifest


def negatives_of(directory, manifest: Manifest, table: pa.Table) -> list[tuple]:
    """Each sampled negative with a known item: its split, row in the log, item and example."""
    items = open_dataset(str(directory)).vocabulary('item_id')
    rows = {row['timestamp']: row for row in table.to_pylist()}
    return [
        (split, rows[e['timestamp'][0]], items[e['item_id'][0] - 1], e)
        for split in manifest.splits
        for e in read_examples(str(directory), split)
        if e['click'] == [0] and e['item_id'] != [0]
    ]


def day_of(timestamp: float) -> int:
    return int(timestamp - START) // DAY


@pytest.mark.parametrize('split', [BY_DAYS, BY_TIME, BY_PERIODS, BY_USER], ids=lambda s: s.by)
def test_a_negative_has_the_properties_that_its_item_last_had(tmp_path, split):
    table = random_log()
    manifest = build(tmp_path / 'data', table, split=split)
    categories = [None, *open_dataset(str(tmp_path / 'data')).vocabulary('category')]
    tags = [None, *open_dataset(str(tmp_path / 'data')).vocabulary('tags')]
    boundaries = manifest.feature('price').boundaries
    by_item = collections.defaultdict(list)
    for row in table.to_pylist():  # in the order of time
        by_item[row['item_id']].append(row)
    changed = 0
    for _, positive, item, example in negatives_of(tmp_path / 'data', manifest, table):
        before = [r for r in by_item[item] if r['timestamp'] <= positive['timestamp']]
        last = before[-1] if before else by_item[item][0]
        changed += last['category'] != by_item[item][0]['category']
        assert categories[example['category'][0]] in (last['category'], None)
        assert [tags[n] for n in example['tags']] == last['tags'] or 0 in example['tags']
        assert example['price'] == [1 + sum(b <= last['price'] for b in boundaries)]
    assert changed > 300


def split_ends(manifest: Manifest, split: SplitConfig, table: pa.Table) -> dict[str, float]:
    """The time by which each split has ended."""
    if split.by != 'time':
        first = datetime.date(2022, 4, 18)
        ends = {}
        for name, counts in manifest.splits.items():
            last = datetime.date.fromisoformat(counts.days[1])
            ends[name] = START + ((last - first).days + 1) * DAY
        return ends
    times = np.sort(table['timestamp'].to_numpy())
    places = np.ceil(np.round(np.cumsum(split.fractions)[:-1] * len(times), 6)).astype(int)
    return dict(zip(manifest.splits, [*times[places], np.inf], strict=True))


@pytest.mark.parametrize('split', [BY_DAYS, BY_TIME, BY_PERIODS], ids=lambda s: s.by)
def test_negatives_are_drawn_from_what_had_appeared_and_the_user_did_not_know(tmp_path, split):
    table = random_log(3000)
    manifest = build(tmp_path / 'data', table, split=split)
    assert manifest.negative_candidates == dict.fromkeys(manifest.splits, 'appeared')
    ends = split_ends(manifest, split, table)
    appeared, known = {}, {}
    for row in reversed(table.to_pylist()):
        appeared[row['scene'], row['item_id']] = row['timestamp']
        known[row['user_id'], row['item_id']] = row['timestamp']

    def candidates(name: str, row: dict) -> list[str]:
        end = min(START + (day_of(row['timestamp']) + 1) * DAY, ends[name])
        return [
            item
            for (scene, item), since in appeared.items()
            if scene == row['scene']
            and since < end
            and known.get((row['user_id'], item), np.inf) >= ends[name]
        ]

    expected = collections.Counter()
    drawn = collections.Counter()
    cached = {}
    for name, row, item, _ in negatives_of(tmp_path / 'data', manifest, table):
        key = name, row['timestamp']
        possible = cached.setdefault(key, candidates(name, row))
        assert item in possible
        if name not in ('validation', 'test'):  # all candidates of training have ids
            drawn[item] += 1
            for candidate in possible:
                expected[candidate] += 1 / len(possible)
    items = [item for item in expected if expected[item] > 5]
    counts, shares = (np.array([c[item] for item in items]) for c in (drawn, expected))
    assert len(items) > 30
    # The 99.99 % point of chi-square with 60 degrees of freedom is 107.
    assert ((counts - shares) ** 2 / shares).sum() < 107 * max(len(items), 60) / 60


def test_a_random_split_draws_from_the_whole_log(tmp_path):
    table = random_log(3000)
    manifest = build(tmp_path / 'data', table, split=BY_USER)
    assert manifest.negative_candidates == dict.fromkeys(manifest.splits, 'all')
    known = {(row['user_id'], row['item_id']) for row in table.to_pylist()}
    first = {}
    for row in table.to_pylist():
        first.setdefault(row['item_id'], row['timestamp'])
    negatives = negatives_of(tmp_path / 'data', manifest, table)
    assert not any((row['user_id'], item) in known for _, row, item, _ in negatives)
    assert sum(day_of(first[i]) > day_of(row['timestamp']) for _, row, i, _ in negatives) > 300


def test_no_negatives_no_rule(tmp_path):
    manifest = build(tmp_path / 'data', random_log(300), sampling=SamplingConfig())
    assert manifest.negative_candidates == {}
    assert open_dataset(str(tmp_path / 'data')).manifest == manifest


@pytest.mark.parametrize('popularity', [0.0, 0.5])
@pytest.mark.parametrize('split', [BY_DAYS, BY_PERIODS], ids=lambda s: s.by)
def test_a_split_is_the_same_without_the_days_after_it(tmp_path, split, popularity):
    table = random_log()
    settings = {
        'split': split,
        # A whole number of negatives a positive: their number does not depend on later days.
        'sampling': SamplingConfig(ctr_ratio=0.5, popularity_exponent=popularity),
    }
    whole = build(tmp_path / 'whole', table, **settings)
    last = list(whole.splits)[-1]
    after = table['timestamp'].to_numpy() >= split_ends(whole, split, table)[last]
    assert after.sum() > 100
    changed = table.filter(pa.array(~after))
    build(tmp_path / 'cut', changed, **settings)
    one, other = checksums(str(tmp_path / 'whole')), checksums(str(tmp_path / 'cut'))
    examples = [name for name in one if name.startswith(('examples', 'vocabulary'))]
    assert len(examples) > 6 and all(one[name] == other[name] for name in examples)


def test_training_examples_are_the_same_whatever_the_test_days_hold(tmp_path):
    table, other = random_log(), random_log(seed=1)
    train = table['timestamp'].to_numpy() < START + 4 * DAY
    later = other['timestamp'].to_numpy() >= START + 4 * DAY
    mixed = pa.concat_tables([table.filter(pa.array(train)), other.filter(pa.array(later))])
    sampling = SamplingConfig(ctr_ratio=0.5, popularity_exponent=0.5)
    build(tmp_path / 'one', table, sampling=sampling)
    build(tmp_path / 'other', mixed.combine_chunks(), sampling=sampling)
    one, other = checksums(str(tmp_path / 'one')), checksums(str(tmp_path / 'other'))
    train = [
        n for n in one if n.startswith(('examples/train', 'vocabulary')) and 'index' not in n
    ]
    assert len(train) > 4 and all(one[name] == other[name] for name in train)


@pytest.mark.parametrize('sampling', [SamplingConfig(), SamplingConfig(ctr_ratio=0.5)])
def test_held_out_rows_of_a_random_split_change_no_training_example(tmp_path, sampling):
    table = random_log()
    settings = {'split': BY_USER, 'sampling': sampling}
    # Not from a CTR ratio's examples: rows without a click are not among them.
    rows = build(tmp_path / 'rows', table, split=BY_USER, sampling=SamplingConfig())
    assert set(rows.splits) == {'train', 'validation', 'test'}
    held_out = {
        example['timestamp'][0]
        for split in ('validation', 'test')
        for example in read_examples(str(tmp_path / 'rows'), split)
    }
    assert 400 < len(held_out) < 800
    clicks = [
        1 - click if time in held_out else click
        for click, time in zip(
            table['click'].to_pylist(), table['timestamp'].to_pylist(), strict=True
        )
    ]
    flipped = table.set_column(table.column_names.index('click'), 'click', pa.array(clicks))
    build(tmp_path / 'one', table, **settings)
    build(tmp_path / 'other', flipped, **settings)
    names = [*(f.name for f in FEATURES), 'timestamp', 'click', 'domain']
    one, other = (
        collections.Counter(
            tuple(tuple(example[name]) for name in names)
            for example in read_examples(str(tmp_path / directory), 'train')
        )
        for directory in ('one', 'other')
    )
    assert one == other and one.total() > 400


def test_histories_of_a_random_split_contain_training_rows_only(tmp_path):
    table = random_log()
    build(tmp_path / 'data', table, split=BY_USER, sampling=SamplingConfig())
    users = open_dataset(str(tmp_path / 'data')).vocabulary('user_id')
    trained = collections.defaultdict(set)
    examples = {
        split: read_examples(str(tmp_path / 'data'), split)
        for split in ('train', 'validation', 'test')
    }
    for example in examples['train']:
        trained[example['user_id'][0]].add(example['item_id'][0])
    seen = 0
    for split in examples.values():
        for example in split:
            assert set(example['shown']) <= trained[example['user_id'][0]]
            seen += len(example['shown'])
    assert seen > 1000 and len(users) == 25


def test_an_added_day_says_how_its_negatives_were_drawn(tmp_path):
    table = random_log()
    last = table['timestamp'].to_numpy() >= START + 6 * DAY
    build(tmp_path / 'data', table.filter(pa.array(~last)), split=BY_USER, extendable=True)
    manifest = extend_dataset(
        str(tmp_path / 'data'),
        'added',
        ('2022-04-24', '2022-04-24'),
        None,
        '',
        progress=False,
        reader=TableReader(table.filter(pa.array(last))),
    ).manifest
    assert manifest.negative_candidates == {
        'train': 'all',
        'validation': 'all',
        'test': 'all',
        'added': 'appeared',
    }

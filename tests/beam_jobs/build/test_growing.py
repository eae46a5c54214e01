"""Vocabularies that grow from period to period, and with every day that is added."""

import collections
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.build.extend import extend_dataset
from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import (
    CategoricalFeature,
    HistoryFeature,
    NumericFeature,
    SequenceFeature,
    SplitConfig,
)
from beam_jobs.features.vocabulary import count_values_by_state, order_by_state
from beam_jobs.rows.mergeable import TableCounts
from beam_jobs.validation.config import DataValidationConfig
from beam_jobs.validation.validate import validate_dataset
from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from tests.beam_jobs.build.test_build import config, impressions
from tests.beam_jobs.build.test_build_runners import checksums
from tests.beam_jobs.examples_by_hand import read_examples
from tests.beam_jobs.log_in_memory import TableReader

DAY = 86400
START = 1_650_240_000  # 2022-04-18
FEATURES = [
    CategoricalFeature(name='user_id', owner='user'),
    CategoricalFeature(name='item_id', owner='item', min_count=3),
    NumericFeature(name='price', owner='item', buckets=4),
    SequenceFeature(name='tags', owner='item', max_length=2, min_count=2),
    HistoryFeature(name='clicks', feature='item_id', max_length=3),
    HistoryFeature(name='scenes', feature='domain', max_length=2),
]


def growing_log(days: int, rows: int = 150, seed: int = 0) -> pa.Table:
    """Every day has its own users, items, tags and, from days 2 and 5 on, domains."""
    rng = np.random.default_rng(seed)
    parts = []
    for day in range(days):
        item = rng.integers(0, 30, rows) + 5 * day
        scene = rng.integers(0, 1 + (day >= 1) + (day >= 4), rows)
        parts.append(
            pa.table(
                {
                    'user_id': [f'u{n}' for n in rng.zipf(1.6, rows) % 20 + 3 * day],
                    'item_id': [f'i{n}' for n in item],
                    'scene': [f's{n}' for n in scene],
                    'timestamp': START + day * DAY + rng.integers(0, 24, rows) * 3600,
                    'click': (rng.random(rows) < 0.4).astype(np.int64),
                    'price': [float(n % 9) + 10 * (day > 0) for n in item],
                    'tags': [[f't{k + day}' for k in range(n % 3)] for n in item],
                }
            )
        )
    return pa.concat_tables(parts).combine_chunks()


def day_of(table: pa.Table) -> np.ndarray:
    return (table['timestamp'].to_numpy() - START) // DAY


def periods(count: int, period_days: int = 1, **changes):
    return config(
        features=FEATURES,
        extendable=True,
        **changes,
        split=SplitConfig(
            by='periods', periods=count, period_days=period_days, first_day='2022-04-18'
        ),
    )


def build(directory, table, count, **changes):
    return build_dataset(
        periods(count, **changes),
        'test',
        str(directory),
        '',
        progress=False,
        reader=TableReader(table),
    ).manifest


def extend(base, table, day, directory=None, split=None):
    """Adds the day with this number, under its own name, from all of the log."""
    name = str(np.datetime64('2022-04-18') + day)
    if directory is not None:
        shutil.copytree(base, directory)
    return extend_dataset(
        str(directory or base),
        split or name,
        (name, name),
        None,
        '',
        progress=False,
        reader=TableReader(table),
    ).manifest


def by_hand(groups: list[list[str]], min_count: int) -> tuple[list[str], list[int]]:
    """The vocabulary after all groups, and its size (with the id 0) after each."""
    counts, vocabulary, sizes = collections.Counter(), [], []
    for values in groups:
        counts.update(values)
        new = [v for v in counts if counts[v] >= min_count and v not in vocabulary]
        vocabulary += sorted(new, key=lambda value: (-counts[value], value))
        sizes.append(1 + len(vocabulary))
    return vocabulary, sizes


def values_by_day(table: pa.Table, days: list[int], of) -> list[list[str]]:
    return [
        [
            value
            for row in impressions(table)
            for value in of(row)
            if (row['timestamp'] - START) // DAY == day
        ]
        for day in days
    ]


VOCABULARIES = {
    'user_id': (lambda row: [row['user_id']], 1),
    'item_id': (lambda row: [row['item_id']], 3),
    'tags': (lambda row: row['tags'], 2),
    'domain': (lambda row: [row['scene']], 1),
}


def check_vocabularies(directory, manifest, table, training: dict[str, int]) -> None:
    """Against the computation by hand; `training`: the day of each training split."""
    for name, (of, min_count) in VOCABULARIES.items():
        expected, sizes = by_hand(values_by_day(table, list(training.values()), of), min_count)
        assert open_dataset(str(directory)).vocabulary(name) == expected
        known = dict(zip(training, sizes, strict=True))
        if name == 'domain':
            assert manifest.known_domains == known
            assert [d.name for d in manifest.domains] == expected
            assert [d.id for d in manifest.domains] == list(range(1, len(expected) + 1))
        for feature in manifest.features:
            if feature.vocabulary == name:
                assert feature.known == known and feature.size == sizes[-1]


def test_values_come_in_the_order_of_periods_then_of_frequency(tmp_path):
    table = growing_log(6)
    manifest = build(tmp_path / 'data', table, 5)
    check_vocabularies(
        tmp_path / 'data', manifest, table, {f'period-{n + 1}': n for n in range(5)}
    )
    unseen = [e for e in read_examples(str(tmp_path / 'data'), 'test') if e['item_id'] == [0]]
    assert unseen  # the test's own items have no ids
    assert manifest.feature('price').known == {}


def test_more_periods_keep_the_ids_and_bytes_of_fewer(tmp_path):
    table = growing_log(6)
    few = build(tmp_path / 'few', table.filter(day_of(table) < 4), 3)
    more = build(tmp_path / 'more', table, 5)
    for name in VOCABULARIES:
        old = open_dataset(str(tmp_path / 'few')).vocabulary(name)
        assert open_dataset(str(tmp_path / 'more')).vocabulary(name)[: len(old)] == old
    for feature in few.features:
        assert feature.known.items() <= more.feature(feature.name).known.items()
        assert feature.boundaries == more.feature(feature.name).boundaries
    assert few.ids_known(['period-3']) == more.ids_known(['period-3'])
    first, second = checksums(str(tmp_path / 'few')), checksums(str(tmp_path / 'more'))
    assert any(name.startswith('examples/period-1/') for name in first)
    # What was known by its end is the same in the rows; what came later is greater.
    for split in ('period-1', 'period-2', 'period-3'):
        for name, known in few.ids_known([split]).items():

            def below(directory, split=split, name=name, known=known):
                examples = read_examples(str(tmp_path / directory), split)
                return collections.Counter(
                    (
                        e['user_key'][0],
                        e['timestamp'][0],
                        tuple(i if i < known else 0 for i in e[name]),
                    )
                    for e in examples
                )

            assert below('few') == below('more')
    assert second['vocabulary/user_id.txt'] != first['vocabulary/user_id.txt']


def test_numbers_are_cut_at_quantiles_of_the_first_period(tmp_path):
    table = growing_log(4)
    manifest = build(tmp_path / 'data', table, 3)
    assert manifest.feature('price').boundaries
    assert max(manifest.feature('price').boundaries) < 10  # later prices are above


def test_a_period_of_several_days_is_one_state(tmp_path):
    table = growing_log(5)
    manifest = build(tmp_path / 'data', table, 2, period_days=2)
    for name, (of, min_count) in VOCABULARIES.items():
        one, two, three, four = values_by_day(table, [0, 1, 2, 3], of)
        expected, _ = by_hand([one + two, three + four], min_count)
        assert open_dataset(str(tmp_path / 'data')).vocabulary(name) == expected
    assert list(manifest.known_domains) == ['period-1', 'period-2']


def test_added_days_append_to_vocabularies_and_domains(tmp_path):
    table = growing_log(6)  # periods 0, 1; test 2; added 4 (3 has no rows at all), then 5
    table = table.filter(day_of(table) != 3)
    base = tmp_path / 'base'
    build(base, table.filter(day_of(table) < 3), 2)
    files = checksums(str(base))
    manifest = extend(base, table.filter(day_of(table) == 4), 4, tmp_path / 'next')
    training = {'period-1': 0, 'period-2': 1, '2022-04-22': 4}
    check_vocabularies(tmp_path / 'next', manifest, table, training)
    assert [d.name for d in manifest.domains] == ['s0', 's1', 's2']
    manifest = extend(tmp_path / 'next', table.filter(day_of(table) == 5), 5)
    check_vocabularies(tmp_path / 'next', manifest, table, training | {'2022-04-23': 5})
    assert open_dataset(str(tmp_path / 'next')).manifest == manifest
    items = open_dataset(str(tmp_path / 'next')).vocabulary('item_id')
    added = read_examples(str(tmp_path / 'next'), '2022-04-23')
    rows = [r for r in impressions(table) if (r['timestamp'] - START) // DAY == 5]
    assert collections.Counter(
        items[e['item_id'][0] - 1] if e['item_id'][0] else None for e in added
    ) == collections.Counter(r['item_id'] if r['item_id'] in items else None for r in rows)
    assert any(e['item_id'][0] >= manifest.ids_known(['2022-04-22'])['item_id'] for e in added)
    assert any(i for e in added for i in e['clicks'])  # histories reach back
    for split in ('period-1', 'period-2', 'test'):
        for kind in ('examples', 'statistics'):
            for name in files:
                if name.startswith(f'{kind}/{split}'):
                    assert checksums(str(tmp_path / 'next'))[name] == files[name]


def test_a_base_whose_log_went_further_than_its_splits(tmp_path):
    table = growing_log(5)
    build(tmp_path / 'from-all', table, 2)
    build(tmp_path / 'from-some', table.filter(day_of(table) < 3), 2)
    for day in (3, 4):
        one, other = (
            extend(tmp_path / name, table.filter(day_of(table) == day), day)
            for name in ('from-all', 'from-some')
        )
        assert one.splits == other.splits and one.features == other.features
    expected = checksums(str(tmp_path / 'from-some'))
    found = checksums(str(tmp_path / 'from-all'))
    different = {name for name in expected if found.get(name) != expected[name]}
    # The first log of one of them has all days.
    assert {name for name in different if not re.match(r'log/\d+\.arrow', name)} == {
        'manifest.json'
    }


def test_what_a_model_knows(tmp_path):
    table = growing_log(5)
    build(tmp_path / 'base', table.filter(day_of(table) < 4), 3)
    manifest = extend(tmp_path / 'base', table, 4)
    known = manifest.feature('user_id').known
    assert known['period-1'] < known['period-2'] < known['period-3'] < known['2022-04-22']

    def users(*splits):
        return manifest.ids_known(splits)['user_id']

    assert users('period-2') == users('period-1', 'period-2') == known['period-2']
    assert users('period-3', 'period-1') == users('test') == known['period-3']
    assert users('2022-04-22') == known['2022-04-22'] == manifest.feature('user_id').size
    assert manifest.ids_known(['period-1'])['price'] == manifest.feature('price').size
    assert manifest.ids_known(['period-1'])['scenes'] == manifest.domains_known(['period-1'])
    assert [manifest.domains_known([s]) for s in manifest.splits] == [2, 3, 3, 3, 4]
    with pytest.raises(KeyError):
        manifest.ids_known(['period-9'])


def test_a_dataset_split_otherwise_does_not_grow(tmp_path):
    table = growing_log(4)
    manifest = build_dataset(
        config(
            features=FEATURES,
            extendable=True,
            split=SplitConfig(by='days', days={'train': ('2022-04-18', '2022-04-19')}),
        ),
        'test',
        str(tmp_path / 'data'),
        '',
        progress=False,
        reader=TableReader(table.filter(day_of(table) < 2)),
    ).manifest
    assert manifest.known_domains == {} and not any(f.known for f in manifest.features)
    assert manifest.ids_known(['train']) == {f.name: f.size for f in manifest.features}
    assert manifest.domains_known(['train']) == manifest.num_domains
    extended = extend(tmp_path / 'data', table, 2)
    assert extended.features == manifest.features and extended.domains == manifest.domains


@pytest.mark.parametrize(
    ('days', 'day', 'split', 'message'),
    [
        ([3], 4, '2022-04-21', 'already has a split 2022-04-21'),
        (
            [3],
            3,
            'again',
            'split again begins on 2022-04-21, but .* ends on 2022-04-21: only later',
        ),
        ([3], 1, None, 'begins on 2022-04-19, but .* ends on 2022-04-21: only later'),
        ([0, 1], 4, None, r'split 2022-04-22 \(2022-04-22 to 2022-04-22\) has no rows'),
        ([], 4, None, 'The log has no rows'),
    ],
)
def test_days_that_cannot_be_added_leave_the_dataset_as_it_was(
    tmp_path, days, day, split, message
):
    table = growing_log(4)
    base = tmp_path / 'base'
    build(base, table.filter(day_of(table) < 3), 2)
    extend(base, table, 3)
    files = checksums(str(base))
    rows = table.filter(np.isin(day_of(table), days))
    with pytest.raises(UserError, match=message) as error:
        extend(base, rows, day, split=split)
    assert str(error.value).count('. ') == 0  # one sentence
    assert checksums(str(base)) == files
    extend(base, growing_log(5), 4)  # and it can still be extended


def test_a_day_on_which_a_domain_has_no_rows(tmp_path):
    table = growing_log(4)
    quiet = pa.array(~((day_of(table) == 1) & np.isin(table['scene'].to_pylist(), ['s0'])))
    build(tmp_path / 'data', table.filter(quiet), 3)
    manifest = open_dataset(str(tmp_path / 'data')).manifest
    assert set(manifest.splits['period-2'].examples) == {'s1'}
    assert {e['domain'][0] for e in read_examples(str(tmp_path / 'data'), 'period-2')} == {2}


def test_growing_datasets_are_sound(tmp_path):
    table = growing_log(5, rows=400)
    build(tmp_path / 'data', table.filter(day_of(table) < 4), 3)
    extend(tmp_path / 'data', table, 4)
    assert 'statistics/2022-04-22.pb' in open_dataset(str(tmp_path / 'data')).manifest.files
    for test in ('test', '2022-04-22'):
        config = DataValidationConfig(test_split=test)
        found = validate_dataset(str(tmp_path / 'data'), str(tmp_path / 'out'), config)
        # Every day of this log has tags of its own, and some a new domain.
        failed = {change.check for change in found.changes if change.failed}
        assert 'tags' in failed and failed <= {'tags', 'domain'}
        assert {change.split for change in found.changes} == {test}
        config = config.replace(
            feature_max_share_change={'tags': None},
            max_domain_share_change=None,
            max_domain_share_ratio=None,
        )
        found = validate_dataset(str(tmp_path / 'data'), str(tmp_path / 'out'), config)
        assert found.anomalies == []


def test_states_of_values_against_counting(seed=3):
    rng = np.random.default_rng(seed)
    for min_count in (1, 2, 5):
        texts = [f'v{n}' for n in rng.zipf(1.3, 800) % 60]
        texts[::17] = ['a\nb'] * len(texts[::17])
        state = rng.integers(-1, 4, 800)
        table = pa.table({'x': pa.array(texts).dictionary_encode()})
        parts = [
            count_values_by_state(table.slice(begin, 200), 'x', state[begin : begin + 200])
            for begin in range(0, 800, 200)
        ]
        values, states = order_by_state(TableCounts.merge(parts[::-1]), min_count)
        expected, sizes = by_hand(
            [
                [
                    text
                    for text, s in zip(texts, state, strict=True)
                    if s == k and '\n' not in text
                ]
                for k in range(4)
            ],
            min_count,
        )
        assert values.to_pylist() == expected
        assert [1 + int((states <= k).sum()) for k in range(4)] == sizes
    nothing = count_values_by_state(table, 'x', np.full(800, -1))
    assert len(order_by_state(nothing)[0]) == 0

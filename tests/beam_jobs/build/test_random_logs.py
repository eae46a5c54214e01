"""Nothing in the examples of a random log tells clicks from non-clicks.

In these logs a click is a coin toss, whatever the user, the item or the time; so whatever a
model learns from the training examples, its AUC on the test examples is .5, unless an example
contains something that was not known at its time. Boosted trees see every feature of the built
examples. The tests know the configurations, but nothing of how a dataset is built.

The standard error of a test AUC is .006 to .008 here, so that a case fails, at 3.5 standard
errors, from a test AUC of about .525 on.

Every user is shown an item once at most: a sampled negative is never an item that its user
knows, so a user's repeated clicks on an item would be a signal by definition (MAMDR, V-A).
"""

import math

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

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
from mdctr.manifest import Manifest
from tests.beam_jobs.examples_by_hand import read_examples
from tests.beam_jobs.log_in_memory import TableReader

DAY = 86400
START = 1_650_240_000  # 2022-04-18
DAYS = 8
FEATURES = [
    CategoricalFeature(name='user_id', owner='user'),
    CategoricalFeature(name='item_id', owner='item'),
    CategoricalFeature(name='age', owner='user'),
    CategoricalFeature(name='category', owner='item'),
    NumericFeature(name='price', owner='item', buckets=10),
    SequenceFeature(name='tags', owner='item', max_length=2),
    CategoricalFeature(name='hour'),
    CategoricalFeature(name='weekday'),
]
HISTORIES = [
    HistoryFeature(name='clicks', feature='item_id', max_length=3),
    HistoryFeature(name='scene_clicks', feature='category', scope='domain', max_length=3),
    HistoryFeature(name='skipped', feature='item_id', events='skipped', max_length=3),
    HistoryFeature(name='until_yesterday', feature='item_id', as_of='day', max_length=3),
]
STATISTICS = [
    StatisticFeature(name='item_ctr', owner='item', group_by='item_id', buckets=10),
    StatisticFeature(
        name='item_count', owner='item', group_by='item_id', aggregation='count', buckets=10
    ),
    StatisticFeature(name='user_ctr', owner='user', group_by='user_id', buckets=10),
    StatisticFeature(
        name='category_ctr', owner='item', group_by=['category', 'domain'], buckets=10
    ),
]
BY_DAYS = SplitConfig(
    by='days',
    days={'train': ('2022-04-18', '2022-04-23'), 'test': ('2022-04-24', '2022-04-25')},
)
BY_TIME = SplitConfig(by='time', fractions=(0.7, 0.0, 0.3))
BY_PERIODS = SplitConfig(by='periods', periods=3, period_days=2)
BY_USER = SplitConfig(by='user', fractions=(0.7, 0.0, 0.3))
SAMPLED = SamplingConfig(ctr_ratio=0.5)


def random_log(
    seed: int = 0,
    users: int = 800,
    rows_per_user: int = 40,
    items: int = 150,
    new_items_per_day: int = 0,
    price_growth: float = 1.05,
    click_rate: float = 0.3,
) -> pa.Table:
    """A log whose clicks are independent of everything.

    Args:
        seed: Random seed.
        users: Number of users.
        rows_per_user: Number of impressions of each user, each of another item.
        items: Number of items on the first day.
        new_items_per_day: Items that are added at midnight, and shown as often as the others.
        price_growth: Factor by which every item's price rises per day, continuously.
        click_rate: Probability of a click.
    """
    rng = np.random.default_rng(seed)
    time = np.sort(rng.random((users, rows_per_user)) * DAYS, axis=1)
    available = items + new_items_per_day * time.astype(int)
    item = np.zeros((users, rows_per_user), int)
    for n in range(rows_per_user):
        pending = np.arange(users)
        while len(pending):
            item[pending, n] = rng.integers(0, available[pending, n])
            repeated = (item[pending, :n] == item[pending, n : n + 1]).any(axis=1)
            pending = pending[repeated]
    user = np.repeat(np.arange(users), rows_per_user)
    time, item = time.ravel(), item.ravel()
    base_price = np.exp(rng.normal(3, 0.5, item.max() + 1))
    category = rng.integers(0, 12, item.max() + 1)
    return pa.table(
        {
            'user_id': [f'u{n}' for n in user],
            'item_id': [f'i{n}' for n in item],
            'scene': [f's{n}' for n in rng.integers(0, 2, len(item))],
            'age': [f'a{n % 7}' for n in user],
            'timestamp': START + time * DAY,
            'click': (rng.random(len(item)) < click_rate).astype(np.int64),
            'category': [f'c{n}' for n in category[item]],
            'price': base_price[item] * price_growth**time,
            'tags': [[f't{n % 5}', f't{n % 3}'][: n % 3] for n in item],
        }
    )


def config(**changes) -> DatasetConfig:
    settings = {
        'reader': 'none',
        'domain_columns': ['scene'],
        'features': [*FEATURES, *HISTORIES],
        'split': BY_DAYS,
        'user_buckets': 3,
        'seed': 5,
    }
    return DatasetConfig(**(settings | changes))


def build(directory, config: DatasetConfig, table: pa.Table) -> Manifest:
    return build_dataset(
        config, 'test', str(directory), '', progress=False, reader=TableReader(table)
    ).manifest


def read(directory, split: str, manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """Every feature of a split's examples, `[examples, columns]`, and the clicks."""
    examples = read_examples(str(directory), split)
    lengths = {feature.name: feature.length for feature in manifest.features}
    lengths |= {'domain': 1, 'timestamp': 1, 'click': 1}
    columns = {
        name: np.array([row[name] + [-1] * (length - len(row[name])) for row in examples])
        for name, length in lengths.items()
    }
    click = columns.pop('click').ravel()
    return np.concatenate(list(columns.values()), axis=1), click


def standard_errors_from_half(
    directory, manifest: Manifest, train: list[str], test: str
) -> float:
    """The test AUC of boosted trees, less .5, in standard errors of an uninformed AUC."""
    features, clicks = zip(*(read(directory, split, manifest) for split in train), strict=True)
    trees = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.1, max_leaf_nodes=31, random_state=0
    )
    trees.fit(np.concatenate(features), np.concatenate(clicks))
    test_features, test_clicks = read(directory, test, manifest)
    auc = roc_auc_score(test_clicks, trees.predict_proba(test_features)[:, 1])
    positives = int(test_clicks.sum())
    negatives = len(test_clicks) - positives
    assert min(positives, negatives) > 1000
    error = math.sqrt((positives + negatives + 1) / (12 * positives * negatives))
    print(f'AUC {auc:.4f}, standard error {error:.4f}')
    return (auc - 0.5) / error


CASES = {
    'days': {},
    'days, down-sampled': {'sampling': SamplingConfig(keep_negatives=0.4)},
    'days, statistics': {'features': [*FEATURES, *STATISTICS]},
    'days, sampled': {'sampling': SAMPLED},
    'days, sampled, statistics': {'sampling': SAMPLED, 'features': [*FEATURES, *STATISTICS]},
    'days, sampled by popularity': {
        'sampling': SamplingConfig(ctr_ratio=(0.4, 0.6), popularity_exponent=0.75)
    },
    'time, sampled, statistics': {
        'sampling': SAMPLED,
        'split': BY_TIME,
        'features': [*FEATURES, *HISTORIES, *STATISTICS],
    },
    'periods, sampled, statistics': {
        'sampling': SAMPLED,
        'split': BY_PERIODS,
        'features': [*FEATURES, *HISTORIES, *STATISTICS],
    },
    'user, statistics': {
        'split': BY_USER,
        'features': [*FEATURES, *HISTORIES, *STATISTICS],
    },
    'user, sampled, statistics': {
        'sampling': SAMPLED,
        'split': BY_USER,
        'features': [*FEATURES, *HISTORIES, *STATISTICS],
    },
    'domains of two columns, sampled': {
        'sampling': SAMPLED,
        'domain_columns': ['scene', 'age'],
    },
}
LOGS = {'prices rise': {}, 'new items': {'new_items_per_day': 10, 'price_growth': 1.0}}


@pytest.fixture(scope='module')
def logs() -> dict[str, pa.Table]:
    return {name: random_log(**settings) for name, settings in LOGS.items()}


# Three ways to split, together with sampling, histories and statistics; the others take minutes
# and differ from these in one setting.
FAST = {
    ('days, sampled, statistics', 'new items'),
    ('time, sampled, statistics', 'prices rise'),
    ('user, sampled, statistics', 'prices rise'),
}


@pytest.mark.parametrize(
    ('case', 'log'),
    [
        pytest.param(case, log, marks=[] if (case, log) in FAST else pytest.mark.slow)
        for case in CASES
        for log in LOGS
    ],
)
def test_boosted_trees_learn_nothing_from_a_random_log(tmp_path, logs, case, log):
    settings = config(**CASES[case])
    if settings.split.by == 'user' and settings.sampling.ctr_ratio and log == 'new items':
        pytest.skip('a random split samples from all items, as MAMDR does: new ones stand out')
    manifest = build(tmp_path / 'data', settings, logs[log])
    train = [split for split in manifest.splits if split != 'test']
    assert abs(standard_errors_from_half(tmp_path / 'data', manifest, train, 'test')) < 3.5


@pytest.mark.slow
@pytest.mark.parametrize('log', LOGS)
def test_boosted_trees_learn_nothing_about_an_added_day(tmp_path, logs, log):
    table = logs[log]
    last = table['timestamp'].to_numpy() >= START + 6 * DAY
    settings = config(
        sampling=SAMPLED,
        extendable=True,
        features=[*FEATURES, *HISTORIES, *STATISTICS],
        split=SplitConfig(by='days', days={'train': BY_DAYS.days['train']}),
    )
    build(tmp_path / 'data', settings, table.filter(pa.array(~last)))
    manifest = extend_dataset(
        str(tmp_path / 'data'),
        'added',
        BY_DAYS.days['test'],
        None,
        '',
        progress=False,
        reader=TableReader(table.filter(pa.array(last))),
    ).manifest
    assert abs(standard_errors_from_half(tmp_path / 'data', manifest, ['train'], 'added')) < 3.5

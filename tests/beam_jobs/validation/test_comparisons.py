"""Comparisons of splits: faults are found in domains of every size, and sound logs pass."""

import numpy as np
import pytest
from scipy import stats

from beam_jobs.validation.config import DataValidationConfig
from beam_jobs.validation.features import value_namer
from beam_jobs.validation.intervals import (
    correlation_within,
    effective_size,
    rate_bounds,
    share_bounds,
)
from beam_jobs.validation.validate import compare, follows, make_pairs
from mdctr.dataset import open_dataset
from mdctr.manifest import Manifest, Rows, Split
from tests.beam_jobs.validation.simulated_logs import (
    FIRST,
    LogDataset,
    cents,
    inverted,
    is_test,
    lost_rows,
    make_log,
    no_tags,
    one_item,
    one_user,
    other_ids,
)

CONFIG = DataValidationConfig()


def failures(directory, log, by='days', config=CONFIG):
    """The check and the domain of everything that fails."""
    dataset = LogDataset(log, by).write(str(directory), statistics=False)
    opened = open_dataset(dataset)
    pairs = make_pairs(opened, 'train', ['validation', 'test'], config)
    changes, comparisons = compare(pairs, config, value_namer(opened))
    assert comparisons > 0
    return {(change.check, change.domain) for change in changes if change.failed}


@pytest.fixture(scope='module')
def sound():
    return make_log(30_000, seed=5)


def faulty(log, inject, domain=None):
    where = np.asarray(is_test(log) & ((domain is None) | (log['domain'] == domain)))
    return inject(log.copy(), where, np.random.default_rng(0))


def test_a_sound_log_passes(tmp_path, sound):
    assert failures(tmp_path, sound) == set()


@pytest.mark.parametrize(
    ('inject', 'domain', 'check'),
    [
        (cents, 'small', 'price'),  # 50 rows of 5,000: 1 % of the test
        (no_tags, 'small', 'tags'),
        (other_ids, 'middle', 'item_id'),
        (one_item, 'middle', 'item_id'),
        (one_user, None, 'user'),
        (inverted, None, 'click'),
        (inverted, 'middle', 'click'),
        (lost_rows, 'middle', 'domain'),
        (lost_rows, None, 'day'),
    ],
)
def test_faults_are_found(tmp_path, sound, inject, domain, check):
    found = failures(tmp_path, faulty(sound, inject, domain))
    assert (check, None if check == 'day' else domain) in found
    if domain is not None:
        assert {of for name, of in found if name == check} <= {domain, None}


def test_a_new_domain_with_much_of_the_test_fails_and_a_small_one_does_not(tmp_path, sound):
    rng = np.random.default_rng(0)
    for share, expected in ((0.3, {('domain', 'new')}), (0.02, set())):
        log = sound.copy()
        log.loc[is_test(log) & (rng.random(len(log)) < share), 'domain'] = 'new'
        assert failures(tmp_path / str(share), log) == expected


def test_inverted_labels_are_found_where_half_of_the_rows_are_clicks(tmp_path, sound):
    log = sound.copy()
    rng = np.random.default_rng(0)
    liked = log['item_id'].map(
        {item: rng.random() < 0.5 for item in sorted(set(log['item_id']))}
    )
    log['click'] = np.where(rng.random(len(log)) < 0.8, liked, ~liked).astype(int)
    assert failures(tmp_path / 'sound', log) == set()
    assert ('click', None) in failures(tmp_path / 'faulty', faulty(log, inverted))


def test_histories_and_counts_grow_by_nature(tmp_path, sound):
    """Of one day of training all histories and counts begin at none."""
    late = sound[sound['timestamp'] >= FIRST + 3 * 86400]
    assert failures(tmp_path, late) == set()


def test_what_differs_from_day_to_day_in_training_may_differ_in_the_test(tmp_path, sound):
    log = sound.copy()
    day = ((log['timestamp'] - FIRST) // 86400).astype(int)
    share = np.array([0.1, 0.6, 0.2, 0.7, 0.5, 0.75])[day]
    log.loc[np.random.default_rng(0).random(len(log)) < share, 'gender'] = 'x'
    assert failures(tmp_path / 'days', log) == set()
    steady = sound.copy()
    of_test = is_test(steady) & (np.random.default_rng(0).random(len(steady)) < 0.6)
    steady.loc[of_test, 'gender'] = 'x'
    assert ('gender', None) in failures(tmp_path / 'steady', steady)


@pytest.mark.parametrize('by', ['days', 'user'])
def test_small_logs_of_independent_rows_pass(tmp_path, by):
    """Of 30 logs of 200 to 600 rows, and 2 larger ones, none fails; 1 % may."""
    sizes = [*np.linspace(200, 600, 30).astype(int).tolist(), 5000, 10_000]
    failed = [
        size
        for seed, size in enumerate(sizes)
        if failures(tmp_path / str(seed), make_log(size, seed, drift=0.0), by)
    ]
    assert failed == []


@pytest.mark.parametrize(
    ('by', 'test_days', 'expected'),
    [
        ('days', ('2026-03-07', '2026-03-07'), True),
        ('time', ('2026-03-05', '2026-03-07'), True),  # within a day
        ('user', ('2026-03-02', '2026-03-05'), False),
        ('inputs', ('2026-03-07', '2026-03-07'), True),
        ('inputs', ('2026-03-05', '2026-03-07'), False),
    ],
)
def test_files_that_are_split_already_follow_each_other_if_their_days_do(
    by, test_days, expected
):
    splits = {
        'train': Split(('2026-03-02', '2026-03-05'), {}, {}),
        'test': Split(test_days, {}, {}),
    }
    rows = Rows(0, 0, 0, 0, 0, 0, 0)
    manifest = Manifest('shop', '', [], [], splits, rows, config={'split': {'by': by}})
    assert follows(manifest, 'train', 'test') == expected


def test_bounds_are_wrong_at_most_as_often_as_stated():
    rng = np.random.default_rng(0)
    for share, size in ((0.001, 500), (0.02, 40), (0.3, 25), (0.5, 1000)):
        observed = rng.binomial(size, share, 40_000) / size
        for error in (0.05, 0.005):
            low, high = share_bounds(observed, np.full(40_000, size), error)
            limit = error + 4 * np.sqrt(error / 40_000)
            assert (low > share).mean() <= limit and (high < share).mean() <= limit
    low, high = rate_bounds(rng.poisson(3.0, 40_000), 0.01)
    assert (low > 3).mean() <= 0.012 and (high < 3).mean() <= 0.012


def test_bounds_equal_scipys():
    low, high = share_bounds([0.3, 0.0, 1.0], [50, 50, 50], 0.025)
    for index, count in enumerate((15, 0, 50)):
        expected = stats.binomtest(count, 50).proportion_ci(0.95, 'exact')
        assert (low[index], high[index]) == pytest.approx((expected.low, expected.high))
    assert rate_bounds(0, 0.025)[1] == pytest.approx(3.6889, abs=1e-4)


def test_bounds_hold_for_rows_of_a_few_users():
    """Rows of a user are equal: the rows count as fewer, so that the bounds stay right."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        user = rng.integers(0, 60, 600)
        value = (rng.random(60) < 0.3).astype(int)[user]
        correlation = correlation_within(user, value)
        counts = np.bincount(user, minlength=60)
        size = effective_size(600, 600**2 / (counts**2).sum(), correlation)
        low, high = share_bounds(value.mean(), size, 0.025)
        wrong += not low <= 0.3 <= high
        assert correlation > 0.9
    assert wrong / 400 <= 0.05 + 3 * np.sqrt(0.05 / 400)
    assert correlation_within(rng.integers(0, 60, 60_000), rng.integers(0, 5, 60_000)) < 0.01

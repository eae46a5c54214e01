"""Splits by days, periods, time and user."""

import numpy as np
import pytest

from beam_jobs.config import SplitConfig
from beam_jobs.rows.mergeable import NumberCounts
from beam_jobs.rows.splits import OUTSIDE, ConfiguredSplits
from mdctr.days import day_name

DAY = 86400


def assign(config, timestamps, user=None, seed=1):
    timestamps = np.asarray(timestamps, float)
    user = np.zeros(len(timestamps), int) if user is None else user
    splitter = ConfiguredSplits(
        config, seed, int(timestamps.min() // DAY), NumberCounts.of(timestamps)
    )
    keys = np.random.default_rng(0).integers(0, 2**63, len(timestamps)).astype(np.uint64)
    return splitter, splitter.assign(user, timestamps, keys)


def test_days_take_their_first_and_last_second():
    config = SplitConfig(
        by='days',
        days={'train': ('1970-01-02', '1970-01-03'), 'test': ('1970-01-05', '1970-01-05')},
    )
    splitter, splits = assign(
        config, [DAY - 0.001, DAY, 3 * DAY - 0.001, 3 * DAY, 4 * DAY, 5 * DAY - 0.001, 5 * DAY]
    )
    assert splitter.names == ['train', 'test']
    assert splits.tolist() == [OUTSIDE, 0, 0, OUTSIDE, 1, 1, OUTSIDE]


def test_periods_follow_one_another_and_end_with_a_day_of_test():
    config = SplitConfig(by='periods', periods=5, period_days=6)
    timestamps = np.arange(100, 131) * DAY + 7.0
    splitter, splits = assign(config, timestamps)
    assert splitter.names == [
        'period-1',
        'period-2',
        'period-3',
        'period-4',
        'period-5',
        'test',
    ]
    assert splits.tolist() == [number for number in range(5) for _ in range(6)] + [5]
    assert splitter.days['test'] == (day_name(130), day_name(130))
    start = SplitConfig(by='periods', periods=1, period_days=2, first_day=day_name(101))
    assert assign(start, timestamps[:6])[1].tolist() == [OUTSIDE, 0, 0, 1, OUTSIDE, OUTSIDE]


@pytest.mark.parametrize('fractions', [(4 / 6, 1 / 6, 1 / 6), (0.6, 0.2, 0.2), (0.8, 0.2, 0.0)])
def test_time_cuts_the_rows_in_order_at_the_fractions(fractions):
    timestamps = np.random.default_rng(1).permutation(60) * 0.25
    splitter, splits = assign(SplitConfig(by='time', fractions=fractions), timestamps)
    in_order = splits[np.argsort(timestamps)]
    expected = np.repeat(np.arange(3), np.round(np.array(fractions) * 60).astype(int))
    assert in_order.tolist() == expected.tolist()
    assert len(splitter.names) == sum(share > 0 for share in fractions)


def test_time_never_parts_rows_of_one_time():
    timestamps = np.repeat([1.0, 2.0, 3.0], [50, 40, 10])
    _, splits = assign(SplitConfig(by='time', fractions=(0.6, 0.2, 0.2)), timestamps)
    # 40 rows at time 2 begin at 0.5 of all, before 0.6: they train; time 3 begins at 0.9.
    assert [set(splits[timestamps == t].tolist()) for t in (1, 2, 3)] == [{0}, {0}, {2}]


def test_user_splits_each_user_by_the_fractions():
    user = np.repeat(np.arange(300), 20)
    _, splits = assign(SplitConfig(by='user', fractions=(0.7, 0.1, 0.2)), user * 1.0, user)
    for one in range(300):
        counts = np.bincount(splits[user == one], minlength=3)
        assert np.abs(counts - [14, 2, 4]).max() <= 1
    early = splits.reshape(300, 20)[:, :10]
    assert abs((early == 0).mean() - 0.7) < 0.03  # at random, not by order


def test_user_fractions_hold_for_users_of_few_rows():
    user = np.arange(20_000)
    _, splits = assign(SplitConfig(by='user', fractions=(0.7, 0.1, 0.2)), user * 1.0, user)
    assert np.abs(np.bincount(splits) / 20_000 - [0.7, 0.1, 0.2]).max() < 0.02


def test_user_split_is_keyed_by_seed():
    user = np.repeat(np.arange(100), 10)
    config = SplitConfig(by='user', fractions=(0.7, 0.1, 0.2))
    one, same, other = (assign(config, user * 1.0, user, seed)[1] for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()

"""The bootstrap by user against one that repeats rows in plain sight."""

import numpy as np
import pytest

from beam_jobs.evaluation.bootstrap import Columns, interval, replicate
from mdctr import metrics


@pytest.fixture
def columns():
    rng = np.random.default_rng(5)
    count = 400
    users = rng.integers(0, 25, count) * 1000 - 7
    labels = rng.integers(0, 2, count)
    return Columns(
        users,
        labels,
        np.round(rng.random(count) * 0.8 + 0.1, 1),
        np.where(labels > 0, 1.0, 2.5),
    )


def test_a_replicate_is_the_metric_of_the_rows_of_the_users_drawn(columns):
    found = replicate(columns, 5, seed=7, stream=2)
    draws = np.random.Generator(np.random.Philox(np.random.SeedSequence([7, 2])))
    users = np.unique(columns.user_keys)
    for number in range(5):
        drawn = draws.integers(0, len(users), len(users))
        rows = np.concatenate(
            [np.flatnonzero(columns.user_keys == users[one]) for one in drawn]
        )
        copies = np.concatenate(
            [
                np.full((columns.user_keys == users[one]).sum(), place)
                for place, one in enumerate(drawn)
            ]
        )  # a copy is a user
        labels, scores = columns.labels[rows], columns.scores[rows]
        weights = columns.weights[rows]
        assert found['auc'][number] == pytest.approx(metrics.auc(labels, scores, None))
        assert found['gauc'][number] == pytest.approx(
            metrics.gauc(copies, labels, scores).value
        )
        assert found['log_loss'][number] == pytest.approx(
            metrics.log_loss(labels, scores, weights)
        )
        assert found['pcoc'][number] == pytest.approx(metrics.pcoc(labels, scores, weights))


def test_same_seed_same_replicates_and_another_stream_others(columns):
    one, two = replicate(columns, 4, 1, 1), replicate(columns, 4, 1, 1)
    other = replicate(columns, 4, 1, 2)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
        assert not np.array_equal(one[name], other[name])


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    covered = 0
    for trial in range(100):
        users = np.repeat(np.arange(60), 5)
        clicks = (rng.random(300) < np.repeat(rng.beta(2, 2, 60), 5)).astype(int)
        columns = Columns(users, clicks, np.full(300, 0.5), np.ones(300))
        found = replicate(columns, 200, trial, 0)
        low, high = interval(found['pcoc'], 0.9)
        covered += low <= 1.0 <= high  # the mean click is 0.5
    assert 80 <= covered <= 98


def test_what_cannot_be_resampled_has_no_interval():
    alone = Columns(
        np.ones(4, int), np.array([0, 1, 0, 1]), np.linspace(0.1, 0.4, 4), np.ones(4)
    )
    assert interval(replicate(alone, 10, 1, 1)['auc'], 0.95) is None
    silent = Columns(np.arange(4), np.zeros(4, int), np.linspace(0.1, 0.4, 4), np.ones(4))
    found = replicate(silent, 10, 1, 1)
    assert interval(found['auc'], 0.95) is None and interval(found['pcoc'], 0.95) is None
    assert interval(found['log_loss'], 0.95) is not None
    assert interval(replicate(alone, 0, 1, 1)['auc'], 0.95) is None

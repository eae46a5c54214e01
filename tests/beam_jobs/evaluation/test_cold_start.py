"""Metrics of new and old users and items against a plain computation."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from beam_jobs.evaluation.cold_start import GROUPS, cold_start_metrics, is_old


def rows(count=4000, seed=0):
    rng = np.random.default_rng(seed)
    user = rng.integers(0, 200, count)
    item = rng.integers(0, 90, count)
    key = np.where(user == 0, rng.integers(1000, 1050, count), user * 7)
    score = rng.random(count).round(2)
    label = (rng.random(count) < 0.2 + 0.5 * score * (user < 100)).astype(int)
    return user, item, key, label, score


def gauc_by_hand(key, label, score):
    total = weights = 0
    for user in np.unique(key):
        mine = key == user
        if 0 < label[mine].sum() < mine.sum():
            total += mine.sum() * roc_auc_score(label[mine], score[mine])
            weights += mine.sum()
    return total / weights


def test_groups_by_size_and_by_what_was_seen():
    user, item, key, label, score = rows()
    seen = np.zeros(60, bool)
    seen[1:60:2] = True  # items of even number, 60 and up, and 0 are new
    found = cold_start_metrics(user, item, key, label, score, 120, seen)
    expected = {
        'old users': (user > 0) & (user < 120),
        'old items': (item < 60) & (item % 2 == 1),
    }
    expected['new users'] = (user == 0) | (user >= 120)
    expected['new items'] = ~expected['old items']
    assert tuple(found) == GROUPS and set(expected) == set(GROUPS)
    for name, mine in expected.items():
        assert found[name]['impressions'] == mine.sum() > 0
        assert found[name]['clicks'] == label[mine].sum()
        assert found[name]['auc'] == pytest.approx(roc_auc_score(label[mine], score[mine]))
        assert found[name]['gauc'] == pytest.approx(
            gauc_by_hand(key[mine], label[mine], score[mine])
        )
    assert found['old users']['auc'] - found['new users']['auc'] > 0.03  # as they were drawn


def test_users_without_an_id_are_told_apart_by_their_keys():
    key, label = np.array([1, 1, 2, 2]), np.array([1, 0, 1, 0])
    score = np.array([0.9, 0.8, 0.2, 0.1])
    found = cold_start_metrics(np.zeros(4, int), np.ones(4, int), key, label, score, 5, 2)
    assert found['new users']['gauc'] == 1.0 and found['new users']['auc'] == 0.75
    assert found['new users']['gauc_users'] == 2
    assert found['old users']['impressions'] == 0 and found['old users']['auc'] is None
    assert found['new items']['gauc'] is None and found['old items']['auc'] == 0.75


def test_weights_go_with_their_rows():
    user, item, key, label, score = rows(500)
    weights = np.where(label > 0, 1.0, 4.0)
    found = cold_start_metrics(user, item, key, label, score, 100, 90, weights)['old users']
    mine = (user > 0) & (user < 100)
    assert found['ctr'] == pytest.approx(np.average(label[mine], weights=weights[mine]))


def test_ids_beyond_what_is_known_are_new():
    assert is_old(np.array([0, 1, 4, 5, 99]), 5).tolist() == [False, True, True, False, False]
    assert is_old(np.array([0, 1, 2, 3]), np.array([True, True, False])).tolist() == [
        False,
        True,
        False,
        False,
    ]
    assert is_old(np.array([0, 7]), np.zeros(0, bool)).tolist() == [False, False]


def test_columns_of_different_lengths_are_refused():
    user, item, key, label, score = rows(50)
    with pytest.raises(ValueError, match='49 ids of items and 50 labels'):
        cold_start_metrics(user, item[1:], key, label, score, 5, 5)

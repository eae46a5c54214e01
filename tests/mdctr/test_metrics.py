"""Metrics against scikit-learn and cases worked out by hand."""

import json
import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from mdctr.metrics import METRICS, auc, domain_metrics, gauc, log_loss, pcoc


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    count = 3000
    return {
        'labels': rng.integers(0, 2, count),
        'users': rng.integers(-50, 150, count),
        'scores': np.round(rng.random(count), 2),
        'weights': rng.random(count),
        'domains': rng.integers(0, 4, count),
    }


def test_auc_equals_scikit_learn_with_ties_and_weights(rows):
    labels, scores, weights = rows['labels'], rows['scores'], rows['weights']
    assert auc(labels, scores) == pytest.approx(
        sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12
    )
    assert auc(labels, scores, weights) == pytest.approx(
        sklearn_metrics.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
    )


def test_auc_equals_cases_worked_out_by_hand():
    # Of the pairs (click, no click): .8 > .2, .8 > .5, .5 > .2 and the tie .5 = .5 as a half.
    assert auc(np.array([0, 0, 1, 1]), np.array([0.2, 0.5, 0.8, 0.5])) == 3.5 / 4
    assert auc(np.array([1, 0, 0]), np.array([0.5, 0.5, 0.5])) == 0.5


@pytest.mark.parametrize('labels', [[], [0, 0], [1, 1, 1]])
def test_one_class_has_no_auc(labels):
    labels = np.array(labels, int)
    assert auc(labels, np.linspace(0, 1, len(labels))) is None
    assert gauc(np.zeros(len(labels)), labels, np.linspace(0, 1, len(labels))).value is None


def test_gauc_equals_users_one_by_one(rows):
    total, impressions, used, left_out = 0.0, 0, 0, 0
    for user in np.unique(rows['users']):
        mine = rows['users'] == user
        if len(np.unique(rows['labels'][mine])) < 2:
            left_out += 1
            continue
        used += 1
        impressions += mine.sum()
        total += mine.sum() * sklearn_metrics.roc_auc_score(
            rows['labels'][mine], rows['scores'][mine]
        )
    found = gauc(rows['users'], rows['labels'], rows['scores'])
    assert found.value == pytest.approx(total / impressions, abs=1e-12)
    assert (found.users_used, found.users_left_out, found.impressions_used) == (
        used,
        left_out,
        impressions,
    )


def test_gauc_by_hand_leaves_out_and_counts_users_of_one_class():
    # User 1: AUC 1 over 2 impressions. User 2: AUC 1/2 over 3. Users 3 and 4: one class.
    users = np.array([1, 1, 2, 2, 2, 3, 3, 4])
    labels = np.array([1, 0, 1, 0, 0, 0, 0, 1])
    scores = np.array([0.9, 0.1, 0.5, 0.4, 0.6, 0.3, 0.3, 0.2])
    found = gauc(users, labels, scores)
    assert found.value == pytest.approx((2 * 1 + 3 * 0.5) / 5)
    assert (found.users_used, found.users_left_out, found.impressions_used) == (2, 2, 5)


def test_log_loss_equals_scikit_learn(rows):
    scores = np.clip(rows['scores'], 0.01, 0.99)
    assert log_loss(rows['labels'], scores) == pytest.approx(
        sklearn_metrics.log_loss(rows['labels'], scores)
    )
    assert log_loss(rows['labels'], scores, rows['weights']) == pytest.approx(
        sklearn_metrics.log_loss(rows['labels'], scores, sample_weight=rows['weights'])
    )


def test_log_loss_of_certain_mistakes_is_finite():
    assert log_loss(np.array([1, 0]), np.array([0.0, 1.0])) == pytest.approx(
        -math.log(1e-7), rel=1e-6
    )
    assert log_loss(np.array([], int), np.array([])) is None


def test_pcoc_equals_cases_worked_out_by_hand():
    labels, scores = np.array([1, 0, 0, 0]), np.array([0.5, 0.25, 0.25, 0.5])
    assert pcoc(labels, scores) == 1.5
    # Negatives with a weight of two: predicted (.5 + 2 * 1) / 7, clicked 1 / 7.
    assert pcoc(labels, scores, np.array([1, 2, 2, 2])) == pytest.approx(2.5)
    assert pcoc(np.zeros(3, int), np.ones(3)) is None


def test_domain_metrics_are_those_of_each_domains_rows(rows):
    names = {0: 'unseen', 1: 'one', 2: 'two', 3: 'three', 4: 'absent'}
    found = domain_metrics(
        rows['domains'], rows['users'], rows['labels'], rows['scores'], names
    )
    assert list(found['domains']) == ['unseen', 'one', 'two', 'three']
    for number, name in list(names.items())[:4]:
        mine = rows['domains'] == number
        labels, scores = rows['labels'][mine], rows['scores'][mine]
        of = found['domains'][name]
        assert tuple(of) == METRICS
        assert of['impressions'] == mine.sum() and of['clicks'] == labels.sum()
        assert of['ctr'] == pytest.approx(labels.mean())
        assert of['auc'] == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores))
        assert of['gauc'] == pytest.approx(gauc(rows['users'][mine], labels, scores).value)
        assert of['pcoc'] == pytest.approx(scores.mean() / labels.mean())
    assert found['overall']['impressions'] == len(rows['labels'])
    assert (
        found['overall']['gauc_users_left_out']
        == gauc(rows['users'], rows['labels'], rows['scores']).users_left_out
    )


def test_undefined_metrics_are_none_and_never_nan():
    found = domain_metrics(
        np.array([1, 2, 2]),
        np.array([5, 6, 6]),
        np.array([0, 1, 1]),
        np.array([0.1, 0.2, 0.3]),
        {1: 'one', 2: 'two'},
    )
    assert found['domains']['one'] | {'impressions': 0, 'log_loss': 0} == {
        'impressions': 0,
        'clicks': 0,
        'ctr': 0.0,
        'auc': None,
        'gauc': None,
        'gauc_users': 0,
        'gauc_users_left_out': 1,
        'log_loss': 0,
        'pcoc': None,
    }
    json.dumps(found, allow_nan=False)
    empty = domain_metrics(*[np.zeros(0, int)] * 4, {})
    assert empty['domains'] == {} and empty['overall']['ctr'] is None


def test_weights_of_down_sampled_negatives_give_the_whole_logs_metrics(rows):
    labels, scores = rows['labels'], rows['scores']
    # A log with every negative twice, of which half are kept.
    log = np.concatenate([np.arange(len(labels)), np.flatnonzero(labels == 0)])
    whole = domain_metrics(
        rows['domains'][log], rows['users'][log], labels[log], scores[log], {}
    )
    kept = domain_metrics(
        rows['domains'], rows['users'], labels, scores, {}, np.where(labels > 0, 1.0, 2.0)
    )
    for scope in (lambda m: m['overall'], lambda m: m['domains']['2']):
        for name in ('ctr', 'log_loss', 'pcoc', 'auc'):
            assert scope(kept)[name] == pytest.approx(scope(whole)[name])


def test_a_domain_that_takes_the_name_unseen_keeps_its_own_figures():
    found = domain_metrics(
        np.array([0, 1]),
        np.array([1, 1]),
        np.array([0, 1]),
        np.array([0.1, 0.2]),
        {1: 'unseen'},
    )
    assert found['domains']['unseen']['clicks'] == 0
    assert found['domains']['unseen (1)']['clicks'] == 1


@pytest.mark.parametrize(
    ('labels', 'scores', 'message'),
    [
        ([0, 1], [0.5], 'one length'),
        ([0, 2], [0.5, 0.5], '0 or 1'),
        ([0, 1], [0.5, math.nan], 'finite'),
    ],
)
def test_columns_that_make_no_sense_are_refused(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        auc(np.array(labels), np.array(scores))

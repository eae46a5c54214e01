"""The comparison's figures, against numbers worked out by hand and SciPy."""

import pytest
from scipy import stats

from pipeline.compare.table import RunResult, domain_bins, summarize


def _result(method, seed, auc, domains, gauc=0.5):
    def of(value):
        return {'auc': value, 'gauc': gauc, 'log_loss': 0.3, 'pcoc': 1.0}

    return RunResult(
        method,
        seed,
        {'overall': of(auc), 'domains': {name: of(v) for name, v in domains.items()}},
        [auc, None],
        10.0 * seed,
        7,
    )


def test_bins_hold_about_equally_many_impressions():
    sizes = {'a': 20, 'b': 20, 'c': 20, 'd': 10, 'e': 10, **{f't{i}': 1 for i in range(20)}}
    bins = domain_bins(sizes)
    assert bins[:4] == [['a'], ['b'], ['c'], ['d', 'e']]
    assert sorted(bins[4]) == sorted(f't{i}' for i in range(20))


def test_a_domain_larger_than_a_bin_is_not_cut():
    bins = domain_bins({'a': 90, 'b': 5, 'c': 5})
    assert [name for names in bins for name in names] == ['a', 'b', 'c']
    assert bins[2] == ['a'] and bins[4] == ['b', 'c']


def test_mean_deviation_and_p_equal_scipy():
    base = [0.60, 0.62, 0.61]
    other = [0.63, 0.64, 0.65]
    results = [_result('mlp', s, v, {'x': v}) for s, v in enumerate(base)]
    results += [_result('star', s, v, {'x': v}) for s, v in enumerate(other)]
    mlp, star = summarize(results, 'mlp')
    assert mlp['auc'] == pytest.approx(0.61)
    assert mlp['auc_std'] == pytest.approx(0.01)
    assert mlp['auc_p'] is None and mlp['uplift'] is None
    assert star['auc_p'] == pytest.approx(stats.ttest_rel(other, base).pvalue)
    assert star['uplift'] == 1.0
    assert star['seconds'] == pytest.approx(10)
    assert star['bins'] == [pytest.approx(0.64), None]
    assert star['gauc_p'] == 1.0  # equal in every pair


def test_seeds_are_paired_only_where_both_have_them():
    results = [
        _result('mlp', 1, 0.6, {}),
        _result('mlp', 2, 0.7, {}),
        _result('star', 2, 0.8, {}),
    ]
    assert summarize(results, 'mlp')[1]['auc_p'] is None


def test_rank_is_averaged_over_domains():
    # x: b best, then a and c tied (2.5 each); y: a, b, c.
    results = [
        _result('a', 1, 0.5, {'x': 0.6, 'y': 0.9}),
        _result('b', 1, 0.5, {'x': 0.7, 'y': 0.8}),
        _result('c', 1, 0.5, {'x': 0.6, 'y': 0.7}),
    ]
    assert [row['rank'] for row in summarize(results, 'a')] == [1.75, 1.5, 2.75]
    assert [row['uplift'] for row in summarize(results, 'a')] == [None, 0.5, 0.0]


def test_the_share_of_the_distance_to_the_ceiling_is_added():
    results = [_result('mlp', 1, 0.6, {}), _result('star', 1, 0.65, {}, gauc=0.6)]
    rows = summarize(results, 'mlp', {'overall': {'auc': 0.8, 'gauc': 0.75}})
    assert rows[0]['auc_closed'] == 0
    assert rows[1]['auc_closed'] == pytest.approx(0.25)
    assert rows[1]['gauc_closed'] == pytest.approx(0.4)


def test_an_undefined_metric_stays_undefined():
    rows = summarize([_result('mlp', 1, None, {'x': None})], 'mlp')
    assert rows[0]['auc'] is None and rows[0]['domain_auc'] is None and rows[0]['rank'] is None

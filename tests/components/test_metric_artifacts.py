"""What the user interface shows of an evaluation."""

from typing import Any

import pytest
from kfp import dsl

from components.metric_artifacts import domain_table, log_metrics

OVERALL = {'auc': 0.7, 'gauc': None, 'log_loss': 0.5, 'pcoc': 1.0, 'ctr': 0.2, 'impressions': 9}


def evaluation(aucs: dict[str, float | None]) -> dict[str, Any]:
    domains = {
        name: {**OVERALL, 'auc': auc, 'impressions': 1000 - number}
        for number, (name, auc) in enumerate(aucs.items())
    }
    return {
        'overall': OVERALL,
        'domains': domains,
        'blessed': False,
        'reasons': ['overall: GAUC 0.1 is too low.'],
        'model': {'model': 'star'},
        'dataset': {'name': 'shops'},
    }


def logged(aucs: dict[str, float | None]) -> dict[str, Any]:
    metrics = dsl.Metrics()
    log_metrics(metrics, evaluation(aucs))
    return metrics.metadata


def test_overall_figures_and_the_best_and_worst_domains_by_name():
    assert logged({'books': 0.8, 'toys': 0.6, 'new': None}) == {
        'auc': 0.7,
        'log_loss': 0.5,
        'pcoc': 1.0,
        'ctr': 0.2,
        'impressions': 9,
        'AUC, best domain 1: books': 0.8,
        'AUC, best domain 2: toys': 0.6,
    }


def test_of_many_domains_five_of_each_kind():
    metadata = logged({f'd{n:04d}': 0.5 + n / 20_000 for n in range(5000)})
    assert len(metadata) == 15
    assert metadata['AUC, best domain 1: d4999'] == pytest.approx(0.74995)
    assert metadata['AUC, worst domain 1: d0000'] == 0.5
    assert metadata['AUC, worst domain 5: d0004'] == pytest.approx(0.5002)
    assert len(logged({f'd{n}': n / 10 for n in range(7)})) == 5 + 5 + 2  # none twice


@pytest.mark.parametrize('name', ['overall', 'auc', 'impressions'])
def test_no_name_of_a_domain_hides_an_overall_figure(name):
    metadata = logged({name: 0.1})
    assert metadata['auc'] == 0.7 and metadata['impressions'] == 9
    assert metadata[f'AUC, best domain 1: {name}'] == 0.1


def test_a_table_of_every_domain():
    lines = domain_table(evaluation({'a|b': 0.8, 'overall': None})).splitlines()
    assert lines[0] == '# Evaluation of star on shops'
    assert '**Not blessed**' in lines and '- overall: GAUC 0.1 is too low.' in lines
    assert lines[-3:] == [
        '| **all rows** | 9 | 0.2000 | 0.7000 | – | 0.5000 | 1.0000 |',
        '| a\\|b | 1,000 | 0.2000 | 0.8000 | – | 0.5000 | 1.0000 |',
        '| overall | 999 | 0.2000 | – | – | 0.5000 | 1.0000 |',
    ]


def test_the_table_stays_below_what_the_user_interface_shows():
    text = domain_table(
        evaluation({f'a domain with a long name, {n:05d}': 0.5 for n in range(9000)})
    )
    assert 290_000 < len(text) < 400_000
    assert text.splitlines()[-1].endswith('smaller domains, in the report.')
    whole = domain_table(evaluation({f'shop-{n:05d}': 0.5 for n in range(4000)}))
    assert 'shop-03999' in whole and len(whole) < 400_000

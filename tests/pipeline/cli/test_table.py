"""The printed table."""

from pipeline.cli.metrics_table import metrics_table


def test_largest_domain_first_and_dashes_where_undefined():
    of = {
        'impressions': 5,
        'ctr': 0.2,
        'auc': None,
        'gauc': None,
        'log_loss': 0.5,
        'pcoc': 1.25,
    }
    more = {**of, 'impressions': 1200, 'auc': 0.75, 'gauc': 0.5}
    lines = metrics_table(
        {'domains': {'small': of, 'large': more}, 'overall': {**more, 'impressions': 1205}}
    ).split('\n')
    assert [line.split() for line in lines if not line.startswith('-')] == [
        ['domain', 'impressions', 'CTR', 'AUC', 'GAUC', 'log', 'loss', 'PCOC'],
        ['large', '1,200', '0.2000', '0.7500', '0.5000', '0.5000', '1.250'],
        ['small', '5', '0.2000', '-', '-', '0.5000', '1.250'],
        ['overall', '1,205', '0.2000', '0.7500', '0.5000', '0.5000', '1.250'],
    ]
    assert len({len(line) for line in lines}) == 1

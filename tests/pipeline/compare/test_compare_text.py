"""Comparison tables as text."""

import csv
import io

from pipeline.compare.text import to_csv, to_markdown

ROW = {
    'method': 'mlp',
    'seeds': 2,
    'auc': 0.71234,
    'auc_std': 0.001,
    'auc_p': None,
    'gauc': 0.6,
    'gauc_std': None,
    'gauc_p': None,
    'log_loss': 0.5,
    'log_loss_std': 0.01,
    'log_loss_p': None,
    'pcoc': 1.01,
    'pcoc_std': 0.1,
    'pcoc_p': None,
    'domain_auc': 0.7,
    'rank': 1.5,
    'uplift': None,
    'bins': [0.7, None],
    'seconds': 12.4,
    'parameters': 1234,
}
STAR = {**ROW, 'method': 'star', 'auc_p': 0.01, 'gauc_p': 0.2, 'uplift': 0.5}


def test_markdown_marks_the_baseline_and_significance():
    lines = to_markdown([ROW, STAR], 'mlp').splitlines()
    assert len({line.count('|') for line in lines}) == 1
    assert lines[2] == (
        '| mlp (baseline) | 0.7123 ± 0.0010 | 0.6000 | 0.5000 ± 0.0100 | 1.010 '
        '| 0.7000 | 1.5 | - | 0.7000 - | 12 | 1,234 |'
    )
    assert '| star | 0.7123 ± 0.0010* | 0.6000 |' in lines[3]
    assert '| 50% |' in lines[3]


def test_markdown_has_the_share_of_the_ceiling_where_it_is_known():
    rows = [
        {**ROW, 'auc_closed': 0.0, 'gauc_closed': None},
        {**STAR, 'auc_closed': 0.25, 'gauc_closed': 0.5},
    ]
    lines = to_markdown(rows, 'mlp').splitlines()
    assert len({line.count('|') for line in lines}) == 1
    assert '| 25% / 50% |' in lines[3]


def test_csv_holds_every_figure():
    rows = list(csv.DictReader(io.StringIO(to_csv([ROW, STAR]))))
    assert rows[1]['auc_p'] == '0.01' and rows[0]['auc_p'] == ''
    assert rows[0]['auc_bin_1'] == '0.7' and rows[0]['auc_bin_2'] == ''

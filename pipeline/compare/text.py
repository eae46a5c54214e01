"""A comparison as CSV, for programs, and as Markdown, for a README."""

import csv
import io
from collections.abc import Sequence
from typing import Any


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Every figure of `summarize`, a line a method; undefined figures are empty."""
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat = {}
    for key, value in row.items():
        if key == 'bins':
            flat.update({f'auc_bin_{i + 1}': of for i, of in enumerate(value)})
        else:
            flat[key] = value
    return flat


def to_markdown(rows: Sequence[dict[str, Any]], baseline: str) -> str:
    """The table of a comparison.

    A figure is the mean over seeds ± its standard deviation; `*` marks a paired t-test
    against the baseline with p < 0.05.
    """
    closed = any('auc_closed' in row for row in rows)
    head = ['method', 'AUC', 'GAUC', 'log loss', 'PCOC', 'domain AUC', 'RANK', 'uplifted',
            'AUC by bin, head to tail', 'seconds', 'parameters']
    if closed:
        head[8:8] = ['closed of the ceiling, AUC / GAUC']
    lines = ['| ' + ' | '.join(head) + ' |', '| --- |' + ' ---: |' * (len(head) - 1)]
    for row in rows:
        name = f'{row["method"]} (baseline)' if row['method'] == baseline else row['method']
        cells = [name, *(figure(row, metric) for metric in ('auc', 'gauc', 'log_loss')),
                 number(row['pcoc'], 3), number(row['domain_auc'], 4),
                 number(row['rank'], 1), _share(row['uplift']),
                 ' '.join(number(value, 4) for value in row['bins']),
                 number(row['seconds'], 0), number(row['parameters'], 0)]
        if closed:
            cells[8:8] = [f'{_share(row["auc_closed"])} / {_share(row["gauc_closed"])}']
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def figure(row: dict[str, Any], metric: str) -> str:
    """A metric's mean over seeds ± its deviation, `*` where it differs from the baseline's."""
    text = number(row[metric], 4)
    if row[f'{metric}_std'] is not None:
        text += f' ± {row[f"{metric}_std"]:.4f}'
    p = row[f'{metric}_p']
    return text + ('*' if p is not None and p < 0.05 else '')


def number(value: float | None, digits: int) -> str:
    """With so many digits behind the point; `-` where it is undefined."""
    return '-' if value is None else f'{value:,.{digits}f}'


def _share(value: float | None) -> str:
    return '-' if value is None else f'{value:.0%}'

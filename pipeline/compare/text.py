"""The table of a comparison as CSV and as Markdown."""

import csv
import io
from collections.abc import Sequence
from typing import Any


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """All values of the rows of `summarize`, one line a method; undefined values are empty."""
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
            flat.update({f'auc_bin_{number}': auc for number, auc in enumerate(value, 1)})
        else:
            flat[key] = value
    return flat


def to_markdown(rows: Sequence[dict[str, Any]], baseline: str) -> str:
    """The rows of `summarize` as a Markdown table.

    Values are means over seeds ± standard deviations; `*` marks p < 0.05 in a paired t-test
    against the baseline.
    """
    columns, cells = text_cells(rows, baseline)
    lines = ['| ' + ' | '.join(columns) + ' |', '| --- |' + ' ---: |' * (len(columns) - 1)]
    lines += ['| ' + ' | '.join(row) + ' |' for row in cells]
    return '\n'.join(lines) + '\n'


def text_cells(
    rows: Sequence[dict[str, Any]], baseline: str
) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, and the cells of each row of `summarize`, as text."""
    has_ceiling = any('auc_closed' in row for row in rows)
    columns = [
        'method',
        'AUC',
        'GAUC',
        'log loss',
        'PCOC',
        'domain AUC',
        'RANK',
        'uplifted',
        'AUC by bin, head to tail',
        'seconds',
        'parameters',
    ]
    if has_ceiling:
        columns[8:8] = ['distance to the ceiling closed, AUC / GAUC']
    table = []
    for row in rows:
        cells = [
            method_name(row['method'], baseline),
            *(mean_text(row, metric) for metric in ('auc', 'gauc', 'log_loss')),
            number_text(row['pcoc'], 3),
            number_text(row['domain_auc'], 4),
            number_text(row['rank'], 1),
            _share(row['uplift']),
            ' '.join(number_text(value, 4) for value in row['bins']),
            number_text(row['seconds'], 0),
            number_text(row['parameters'], 0),
        ]
        if has_ceiling:
            cells[8:8] = [f'{_share(row["auc_closed"])} / {_share(row["gauc_closed"])}']
        table.append(cells)
    return columns, table


def method_name(method: str, baseline: str) -> str:
    """The name of a method, which marks the baseline."""
    return f'{method} (baseline)' if method == baseline else method


def mean_text(row: dict[str, Any], metric: str) -> str:
    """The mean of a metric ± its standard deviation; `*` marks p < 0.05."""
    text = number_text(row[metric], 4)
    if row[f'{metric}_std'] is not None:
        text += f' ± {row[f"{metric}_std"]:.4f}'
    p = row[f'{metric}_p']
    return text + ('*' if p is not None and p < 0.05 else '')


def number_text(value: float | None, digits: int) -> str:
    """A number with this number of decimals; `-` if it is undefined."""
    return '-' if value is None else f'{value:,.{digits}f}'


def _share(value: float | None) -> str:
    return '-' if value is None else f'{value:.0%}'

"""The table of an evaluation that the command line prints."""

from typing import Any

COLUMNS = (
    ('impressions', 'impressions', '{:,}'),
    ('CTR', 'ctr', '{:.4f}'),
    ('AUC', 'auc', '{:.4f}'),
    ('GAUC', 'gauc', '{:.4f}'),
    ('log loss', 'log_loss', '{:.4f}'),
    ('PCOC', 'pcoc', '{:.3f}'),
)


def metrics_table(metrics: dict[str, Any]) -> str:
    """Formats metrics as a table of domains, the largest first, followed by all rows.

    Args:
        metrics: Metrics as returned by `mdctr.metrics.domain_metrics`; an undefined value is
            None and shown as `-`.
    """
    domains = sorted(metrics['domains'].items(), key=lambda item: -item[1]['impressions'])
    rows = [['domain', *(title for title, _, _ in COLUMNS)]]
    rows += [_row(name, values) for name, values in domains]
    rows.append(_row('overall', metrics['overall']))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        '  '.join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = '-' * len(lines[0])
    return '\n'.join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _row(name: str, values: dict[str, Any]) -> list[str]:
    return [
        name,
        *('-' if values[key] is None else form.format(values[key]) for _, key, form in COLUMNS),
    ]

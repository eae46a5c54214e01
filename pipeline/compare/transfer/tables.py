"""CTNet's Tables 2 to 5 from the results of a comparison over periods."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mdctr import storage
from pipeline.compare.table import RunResult, summarize
from pipeline.compare.text import mean_text, method_name, number_text
from pipeline.compare.transfer.run import TransferResult

Metrics = dict[str, Any]


def write_tables(directory: str, results: Sequence[TransferResult], baseline: str) -> str:
    """Writes the tables `table`, `periods` and `groups`, each as Markdown and CSV.

    Args:
        directory: Directory of the files, created if it does not exist.
        results: Results of all methods, targets and seeds.
        baseline: Name of the method that the others are compared with.

    Returns:
        The three tables in Markdown and the paths of the files, to print.
    """
    texts = []
    for name, rows, render in (
        ('table', overall_rows(results, baseline), _overall_markdown),
        ('periods', period_rows(results, baseline), _gains_markdown),
        ('groups', group_rows(results, baseline), _gains_markdown),
    ):
        markdown = render(rows, baseline)
        storage.write_text(storage.join(directory, f'{name}.csv'), _csv(rows))
        storage.write_text(storage.join(directory, f'{name}.md'), markdown)
        texts.append(markdown)
    paths = storage.join(directory, '{table,periods,groups}.{csv,md}')
    return '\n'.join(texts) + f'\nWrote {paths}'


def overall_rows(results: Sequence[TransferResult], baseline: str) -> list[dict[str, Any]]:
    """Rows of Tables 2 and 4: each target and method, on the last day."""
    rows = []
    for target in _distinct(result.target for result in results):
        of_target = [result for result in results if result.target == target]
        rows += [
            {'target': target, **row}
            for row in _summary(of_target, baseline, lambda result: _last(result.days))
        ]
    return rows


def period_rows(results: Sequence[TransferResult], baseline: str) -> list[dict[str, Any]]:
    """Rows of Table 3: each target, day and method, and the mean over the days."""
    return _rows_by(results, baseline, 'day', lambda result: _with_mean(result.days))


def group_rows(results: Sequence[TransferResult], baseline: str) -> list[dict[str, Any]]:
    """Rows of Table 5: each target, group of users or items, and method, on the last day."""
    return _rows_by(results, baseline, 'group', lambda result: result.groups)


def _rows_by(
    results: Sequence[TransferResult],
    baseline: str,
    key: str,
    metrics_by_name: Callable[[TransferResult], dict[str, Metrics]],
) -> list[dict[str, Any]]:
    """Rows of each target, name (of a day or group) and method, with gains on the baseline."""
    rows = []
    for target in _distinct(result.target for result in results):
        of_target = [result for result in results if result.target == target]
        for name in sorted({name for result in of_target for name in metrics_by_name(result)}):
            summary = _summary(
                [result for result in of_target if name in metrics_by_name(result)],
                baseline,
                _entry(metrics_by_name, name),
            )
            base = next((row for row in summary if row['method'] == baseline), None)
            for row in summary:
                gains = {
                    f'{metric}_gain': row[metric] - base[metric]
                    for metric in ('auc', 'gauc')
                    if base is not None and None not in (row[metric], base[metric])
                }
                rows.append({'target': target, key: name, **row, **gains})
    return rows


def _entry(
    metrics_by_name: Callable[[TransferResult], dict[str, Metrics]], name: str
) -> Callable[[TransferResult], Metrics]:
    def metrics_of(result: TransferResult) -> Metrics:
        return metrics_by_name(result)[name]

    return metrics_of


def _summary(
    results: Sequence[TransferResult],
    baseline: str,
    metrics_of: Callable[[TransferResult], Metrics],
) -> list[dict[str, Any]]:
    """Means over seeds, deviations and significance, of each method."""
    rows = summarize(
        [
            RunResult(
                result.method,
                result.seed,
                {'overall': metrics_of(result), 'domains': {}},
                [],
                result.seconds,
                result.parameters,
            )
            for result in results
        ],
        baseline,
    )
    columns = (
        'method',
        'seeds',
        'auc',
        'auc_std',
        'auc_p',
        'gauc',
        'gauc_std',
        'gauc_p',
        'log_loss',
        'log_loss_std',
        'log_loss_p',
        'pcoc',
        'seconds',
        'parameters',
    )
    impressions = {result.method: metrics_of(result)['impressions'] for result in results}
    return [
        {**{key: row[key] for key in columns}, 'impressions': impressions[row['method']]}
        for row in rows
    ]


def _overall_markdown(rows: Sequence[dict[str, Any]], baseline: str) -> str:
    targets = _distinct(row['target'] for row in rows)
    by_key = {(row['target'], row['method']): row for row in rows}
    head = [
        'method',
        *(f'{target} {name}' for target in targets for name in ('AUC', 'GAUC', 'log loss')),
        'seconds',
    ]
    lines = _head(head)
    for method in _distinct(row['method'] for row in rows):
        of_method = [by_key.get((target, method)) for target in targets]
        cells = [method_name(method, baseline)]
        for row in of_method:
            cells += [
                mean_text(row, metric) if row else '-' for metric in ('auc', 'gauc', 'log_loss')
            ]
        cells.append(
            ' / '.join(number_text(row['seconds'], 0) if row else '-' for row in of_method)
        )
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _gains_markdown(rows: Sequence[dict[str, Any]], baseline: str) -> str:
    key = 'group' if rows and 'group' in rows[0] else 'day'
    lines = _head(['target', key, 'impressions', 'method', 'AUC (gain)', 'GAUC (gain)'])
    for row in rows:
        cells = [
            row['target'],
            row[key],
            f'{row["impressions"]:,}',
            method_name(row['method'], baseline),
        ]
        for metric in ('auc', 'gauc'):
            gain = row.get(f'{metric}_gain')
            cells.append(
                mean_text(row, metric)
                + (f' ({gain:+.4f})' if gain is not None and row['method'] != baseline else '')
            )
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _head(names: Sequence[str]) -> list[str]:
    return ['| ' + ' | '.join(names) + ' |', '|' + ' --- |' * len(names)]


def _with_mean(days: dict[str, Metrics]) -> dict[str, Metrics]:
    """The metrics of each day and, if there are several days, their means.

    A mean is over the days on which the metric is defined.
    """
    if len(days) < 2:
        return days
    means = {}
    for name in next(iter(days.values())):
        defined = [day[name] for day in days.values() if day[name] is not None]
        means[name] = sum(defined) / len(defined) if defined else None
    return {
        **days,
        'mean': {**means, 'impressions': sum(day['impressions'] for day in days.values())},
    }


def _last(days: dict[str, Metrics]) -> Metrics:
    return days[max(days)]


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    columns = _distinct(key for row in rows for key in row)
    writer = csv.DictWriter(out, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()

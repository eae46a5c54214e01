"""CTNet's Tables 2 to 5 of a comparison over periods."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.compare.table import Result, summarize
from pipeline.compare.text import figure, number
from pipeline.compare.transfer.run import TransferResult

Metrics = dict[str, Any]


def write_tables(directory: str, results: Sequence[TransferResult], baseline: str) -> str:
    """Writes `table.md`, `periods.md` and `groups.md`, each as CSV too.

    Args:
        directory: made if absent.
        results: of all methods, targets and seeds.
        baseline: the method that the others are compared with.

    Returns:
        The three tables in Markdown and where the files are, to be printed.
    """
    os.makedirs(directory, exist_ok=True)
    texts = []
    for name, rows, render in (
            ('table', overall_rows(results, baseline), _overall_markdown),
            ('periods', period_rows(results, baseline), _gains_markdown),
            ('groups', group_rows(results, baseline), _gains_markdown)):
        markdown = render(rows, baseline)
        for kind, text in (('csv', _csv(rows)), ('md', markdown)):
            with open(os.path.join(directory, f'{name}.{kind}'), 'w', encoding='utf-8') as file:
                file.write(text)
        texts.append(markdown)
    where = os.path.join(directory, '{table,periods,groups}.{csv,md}')
    return '\n'.join(texts) + f'\nAlso as {where}'


def overall_rows(results: Sequence[TransferResult], baseline: str) -> list[dict[str, Any]]:
    """Tables 2 and 4: a row a method and target, on the last day."""
    rows = []
    for target in _distinct(result.target for result in results):
        own = [result for result in results if result.target == target]
        rows += [{'target': target, **row} for row in _summary(
            own, baseline, lambda result: _last(result.days))]
    return rows


def period_rows(results: Sequence[TransferResult], baseline: str) -> list[dict[str, Any]]:
    """Table 3: a row a day and method, of the methods with a model for every day, and one of
    the mean of the days."""
    return _rows_by(results, baseline, 'day', lambda result: _with_mean(result.days))


def group_rows(results: Sequence[TransferResult], baseline: str) -> list[dict[str, Any]]:
    """Table 5: a row a group of users or items and method, on the last day."""
    return _rows_by(results, baseline, 'group', lambda result: result.groups)


def _rows_by(results: Sequence[TransferResult], baseline: str, key: str,
             of: Callable[[TransferResult], dict[str, Metrics]]) -> list[dict[str, Any]]:
    rows = []
    for target in _distinct(result.target for result in results):
        own = [result for result in results if result.target == target]
        for name in sorted({name for result in own for name in of(result)}):
            there = [result for result in own if name in of(result)]
            summary = _summary(there, baseline, lambda result, name=name: of(result)[name])
            base = next((row for row in summary if row['method'] == baseline), None)
            for row in summary:
                gains = {f'{metric}_gain': row[metric] - base[metric]
                         for metric in ('auc', 'gauc')
                         if base is not None and None not in (row[metric], base[metric])}
                rows.append({'target': target, key: name, **row, **gains})
    return rows


def _summary(results: Sequence[TransferResult], baseline: str,
             of: Callable[[TransferResult], Metrics]) -> list[dict[str, Any]]:
    rows = summarize([Result(result.method, result.seed, {'overall': of(result), 'domains': {}},
                             [], result.seconds, result.parameters) for result in results],
                     baseline)
    kept = ('method', 'seeds', 'auc', 'auc_std', 'auc_p', 'gauc', 'gauc_std', 'gauc_p',
            'log_loss', 'log_loss_std', 'log_loss_p', 'pcoc', 'seconds', 'parameters')
    impressions = {result.method: of(result)['impressions'] for result in results}
    return [{**{key: row[key] for key in kept}, 'impressions': impressions[row['method']]}
            for row in rows]


def _overall_markdown(rows: Sequence[dict[str, Any]], baseline: str) -> str:
    targets = _distinct(row['target'] for row in rows)
    by_key = {(row['target'], row['method']): row for row in rows}
    head = ['method', *(f'{target} {name}' for target in targets
                        for name in ('AUC', 'GAUC', 'log loss')), 'seconds']
    lines = _head(head)
    for method in _distinct(row['method'] for row in rows):
        own = [by_key.get((target, method)) for target in targets]
        cells = [_named(method, baseline)]
        for row in own:
            cells += [figure(row, metric) if row else '-'
                      for metric in ('auc', 'gauc', 'log_loss')]
        cells.append(' / '.join(number(row['seconds'], 0) if row else '-' for row in own))
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _gains_markdown(rows: Sequence[dict[str, Any]], baseline: str) -> str:
    key = 'group' if rows and 'group' in rows[0] else 'day'
    lines = _head(['target', key, 'impressions', 'method', 'AUC (gain)', 'GAUC (gain)'])
    for row in rows:
        cells = [row['target'], row[key], f'{row["impressions"]:,}',
                 _named(row['method'], baseline)]
        for metric in ('auc', 'gauc'):
            gain = row.get(f'{metric}_gain')
            cells.append(figure(row, metric) + (
                f' ({gain:+.4f})' if gain is not None and row['method'] != baseline else ''))
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _head(names: Sequence[str]) -> list[str]:
    return ['| ' + ' | '.join(names) + ' |', '|' + ' --- |' * len(names)]


def _named(method: str, baseline: str) -> str:
    return f'{method} (baseline)' if method == baseline else method


def _with_mean(days: dict[str, Metrics]) -> dict[str, Metrics]:
    """The metrics of each day, and where there are several their means over the days on which
    they are defined."""
    if len(days) < 2:
        return days
    means = {}
    for name in next(iter(days.values())):
        defined = [of[name] for of in days.values() if of[name] is not None]
        means[name] = sum(defined) / len(defined) if defined else None
    return {**days, 'mean': {**means, 'impressions': sum(
        of['impressions'] for of in days.values())}}


def _last(days: dict[str, Metrics]) -> Metrics:
    return days[max(days)]


def _distinct(names) -> list[str]:
    return list(dict.fromkeys(names))


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    columns = _distinct(key for row in rows for key in row)
    writer = csv.DictWriter(out, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()

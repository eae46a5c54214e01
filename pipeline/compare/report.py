"""Writes a comparison as CSV, Markdown and a page."""

import html
import os
from collections.abc import Sequence
from typing import Any

from pipeline.compare.table import Result, summarize
from pipeline.compare.text import to_csv, to_markdown


def write_reports(dataset: str, directory: str, results: Sequence[Result],
                  baseline: str) -> str:
    """Writes `table.csv`, `table.md` and `table.html` into `directory`.

    Where the log was simulated, and the manifest has its ceiling, the table says how much of
    the way from the baseline to it each method goes.

    Returns:
        The Markdown table and where the files are, to be printed.
    """
    os.makedirs(directory, exist_ok=True)
    rows = summarize(results, baseline, _ceiling(dataset))
    markdown = to_markdown(rows, baseline)
    for name, text in (('table.csv', to_csv(rows)), ('table.md', markdown),
                       ('table.html', to_page(rows, baseline))):
        with open(os.path.join(directory, name), 'w', encoding='utf-8') as file:
            file.write(text)
    return f'{markdown}\nAlso as {os.path.join(directory, "table.{csv,md,html}")}'


def to_page(rows: Sequence[dict[str, Any]], baseline: str) -> str:
    """A page of the table and its plots, which needs nothing from elsewhere to open."""
    table = ''.join('<tr>' + ''.join(f'<{tag}>{html.escape(cell.strip())}</{tag}>'
                                     for cell in line.strip('|').split('|')) + '</tr>'
                    for line, tag in _lines(to_markdown(rows, baseline)))
    plots = ''.join(_plot(rows, metric, title) for metric, title in (
        ('auc', 'AUC'), ('gauc', 'GAUC')))
    return ('<!doctype html><html lang="en"><meta charset="utf-8"><title>Comparison</title>'
            f'<style>{_STYLE}</style><h1>Comparison</h1><p>Mean over seeds ± standard '
            'deviation; * marks p &lt; 0.05 in a paired t-test against the baseline.</p>'
            f'<table>{table}</table>{plots}</html>\n')


_STYLE = ('body{font:15px system-ui,sans-serif;margin:2rem;color:#222}'
          'table{border-collapse:collapse}td,th{padding:.3rem .7rem;text-align:right;'
          'border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}')


def _lines(markdown: str):
    head, _, *rest = markdown.strip().split('\n')
    return [(head, 'th'), *((line, 'td') for line in rest)]


def _plot(rows: Sequence[dict[str, Any]], metric: str, title: str) -> str:
    """Each method's mean as a dot, with a line of one deviation to either side."""
    shown = [row for row in rows if row[metric] is not None]
    if not shown:
        return ''
    ends = [row[metric] + sign * (row[f'{metric}_std'] or 0) for row in shown
            for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    margin = (high - low) * 0.05 or 0.001
    low, high = low - margin, high + margin

    def x(value: float) -> float:
        return 220 + 460 * (value - low) / (high - low)

    parts = []
    for i, row in enumerate(shown):
        y, spread = 20 + 22 * i, row[f'{metric}_std'] or 0
        parts.append(
            f'<text x="210" y="{y + 4}" text-anchor="end">{html.escape(row["method"])}</text>'
            f'<line x1="{x(row[metric] - spread):.1f}" x2="{x(row[metric] + spread):.1f}" '
            f'y1="{y}" y2="{y}" stroke="#88a"/>'
            f'<circle cx="{x(row[metric]):.1f}" cy="{y}" r="4" fill="#336"/>'
            f'<text x="690" y="{y + 4}">{row[metric]:.4f}</text>')
    height = 20 + 22 * len(shown)
    return (f'<h2>{title}</h2><svg width="760" height="{height}" font-size="13" '
            f'role="img" aria-label="{title} by method">{"".join(parts)}</svg>')


def _ceiling(dataset: str) -> dict[str, Any] | None:
    """The metrics of the true click probabilities of a simulated log's last day, its test."""
    from beam_jobs.dataset import read_manifest

    return read_manifest(dataset).source.get('ceiling', {}).get('last_day')

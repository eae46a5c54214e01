"""Writes the table of a comparison as CSV, Markdown and HTML."""

from collections.abc import Sequence
from typing import Any

from mdctr import html, storage
from mdctr.manifest import Manifest
from pipeline.compare.table import RunResult, summarize
from pipeline.compare.text import text_cells, to_csv, to_markdown

_LEGEND = (
    'Values are means over seeds ± standard deviations; * marks p < 0.05 in a paired t-test '
    'against the baseline.'
)


def write_reports(
    manifest: Manifest, directory: str, results: Sequence[RunResult], baseline: str
) -> str:
    """Writes `table.csv`, `table.md` and `table.html`.

    If the log was simulated and the manifest has the metrics of the true click probabilities,
    the table has the share of the distance between the baseline and these that each method
    closes.

    Args:
        manifest: Manifest of the dataset.
        directory: Directory of the files, created if it does not exist.
        results: Finished runs.
        baseline: Name of the method that the others are compared with.

    Returns:
        The Markdown table and the paths of the files, to print.
    """
    rows = summarize(results, baseline, _ceiling(manifest))
    markdown = to_markdown(rows, baseline)
    storage.write_text(storage.join(directory, 'table.csv'), to_csv(rows))
    storage.write_text(storage.join(directory, 'table.md'), markdown)
    storage.write_text(storage.join(directory, 'table.html'), to_page(rows, baseline))
    return f'{markdown}\nWrote {storage.join(directory, "table.{csv,md,html}")}'


def to_page(rows: Sequence[dict[str, Any]], baseline: str) -> str:
    """An HTML page with the table and a plot of each metric, which opens offline."""
    parts = [html.paragraph(_LEGEND), html.table(*text_cells(rows, baseline))]
    for metric, title in (('auc', 'AUC'), ('gauc', 'GAUC')):
        defined = [row for row in rows if row[metric] is not None]
        if defined:
            parts += [html.heading(title), _plot(defined, metric)]
    return html.page('Comparison', *parts)


def _plot(rows: Sequence[dict[str, Any]], metric: str) -> str:
    """The mean of each method with one standard deviation to either side."""
    intervals = []
    for row in rows:
        deviation = row[f'{metric}_std'] or 0.0
        intervals.append((row[metric] - deviation, row[metric], row[metric] + deviation))
    left = min(low for low, _, _ in intervals)
    right = max(high for _, _, high in intervals)
    return html.table(
        ['method', 'mean', 'mean ± standard deviation'],
        [
            [row['method'], row[metric], html.whisker(*interval, left, right)]
            for row, interval in zip(rows, intervals, strict=True)
        ],
    )


def _ceiling(manifest: Manifest) -> dict[str, Any] | None:
    """The metrics of the true click probabilities on the last (test) day of simulated data."""
    ceiling: dict[str, Any] | None = manifest.source.get('ceiling', {}).get('last_day')
    return ceiling

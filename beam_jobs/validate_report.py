"""The page on a validated dataset."""

from __future__ import annotations

from collections.abc import Iterator

from beam_jobs import report
from beam_jobs.dataset import Manifest
from beam_jobs.validation import Validation

_MOST_ROWS = 300


def write_report(path: str, manifest: Manifest, validation: Validation,
                 sampled: dict[str, int], compared: tuple[str, str]) -> None:
    """Writes the page: verdict, anomalies, warnings, drift, rows and CTR.

    Args:
        path: of the HTML file.
        manifest: of the dataset.
        validation: what was found.
        sampled: rows of each split that the statistics are made of.
        compared: the splits between which drift was measured.
    """
    sound = not validation.anomalies
    parts = [report.verdict(sound, 'Sound' if sound else 'Not sound: '
                            + _count(validation.anomalies, 'anomaly', 'anomalies'))]
    if validation.anomalies:
        parts += [report.heading('Anomalies'), report.bullets(validation.anomalies)]
    if validation.warnings:
        parts += [report.heading('Warnings'), report.bullets(validation.warnings)]
    parts += [report.heading('Rows and CTR'), *_counts(manifest)]
    parts += [report.heading(f'Drift from {compared[0]} to {compared[1]}'),
              report.paragraph('The distance of a feature is the greatest difference between '
                               'the shares of one of its values in the two splits.'),
              _drift(validation)]
    parts += [report.heading('Where the rows of the log went'), _rows(manifest),
              report.heading('How it was looked at'), report.paragraph(
        'The statistics are made of ' + '; '.join(
            f'{rows:,} of {sum(manifest.splits[split].examples.values()):,} rows of {split}'
            for split, rows in sampled.items())
        + '. Rows and clicks are counted in full.')]
    with open(path, 'w', encoding='utf-8') as file:
        file.write(report.page(f'The dataset {manifest.name}', *parts))


def _counts(manifest: Manifest) -> Iterator[str]:
    domains = [domain.name for domain in manifest.domains]
    for split, of in manifest.splits.items():
        total, clicks = sum(of.examples.values()), sum(of.clicks.values())
        largest = max([*of.examples.values(), 1])
        rates = {name: of.clicks.get(name, 0) / rows
                 for name, rows in of.examples.items() if rows}
        highest = max([*rates.values(), 1e-9])
        order = [name for name in domains if name in rates]
        order += [name for name in rates if name not in domains]
        yield report.paragraph(f'{split}, {of.days[0]} to {of.days[1]}: {total:,} rows, '
                               f'{clicks:,} clicks')
        yield report.table(
            ['domain', 'rows', '', 'clicks', 'CTR', ''],
            [[name, of.examples[name], report.bar(of.examples[name] / largest),
              of.clicks.get(name, 0), rates[name], report.bar(rates[name] / highest)]
             for name in order[:_MOST_ROWS]])
        if len(order) > _MOST_ROWS:
            yield report.paragraph(f'And {len(order) - _MOST_ROWS:,} domains more.')


def _drift(validation: Validation) -> str:
    def urgency(drift) -> tuple[bool, float]:
        return (drift.threshold is None, -drift.distance / (drift.threshold or 1))

    rows = [[drift.feature, drift.domain or 'all rows', drift.distance,
             report.bar(drift.distance), drift.threshold,
             'not judged' if drift.threshold is None
             else report.mark(drift.distance <= drift.threshold), drift.value or '']
            for drift in sorted(validation.drift, key=urgency)[:_MOST_ROWS]]
    if not rows:
        return report.paragraph('Nothing was compared.')
    return report.table(['feature', 'domain', 'distance', '', 'allowed', '', 'value'], rows)


def _rows(manifest: Manifest) -> str:
    rows = manifest.rows
    went = [['read', rows.read], ['rejected', rows.rejected], ['duplicates', rows.duplicates],
            ['outside the splits', rows.outside_splits], ['down-sampled', rows.down_sampled],
            ['kept', rows.kept], ['negatives that were sampled', rows.sampled_negatives]]
    went += [[f'rejected: {reason}', count] for reason, count in rows.reasons.items()]
    return report.table(['', 'rows'], went)


def _count(items: list, one: str, many: str) -> str:
    return f'{len(items)} {one if len(items) == 1 else many}'

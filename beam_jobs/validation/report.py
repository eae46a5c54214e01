"""The page on a validated dataset."""

from __future__ import annotations

from collections.abc import Iterator

from beam_jobs.validation.config import DataValidationConfig
from beam_jobs.validation.result import Change, Validation
from mdctr import html as report
from mdctr import storage
from mdctr.manifest import Manifest

_MOST_ROWS = 300


def write_report(
    path: str,
    manifest: Manifest,
    validation: Validation,
    sampled: dict[str, int],
    train: str,
    config: DataValidationConfig,
) -> None:
    """Writes the page: verdict, anomalies, warnings, changes, rows and CTR.

    Args:
        path: Path of the HTML file.
        manifest: Manifest of the dataset.
        validation: What was found.
        sampled: Number of rows of each split in the statistics.
        train: Name of the split that others were compared with.
        config: What may change.
    """
    sound = not validation.anomalies
    parts = [
        report.verdict(
            sound,
            'Sound'
            if sound
            else 'Not sound: ' + _count(validation.anomalies, 'anomaly', 'anomalies'),
        )
    ]
    if validation.anomalies:
        parts += [report.heading('Anomalies'), report.bullets(validation.anomalies)]
    if validation.warnings:
        parts += [report.heading('Warnings'), report.bullets(validation.warnings)]
    parts += [report.heading('Rows and CTR'), *_counts(manifest)]
    parts += [
        report.heading(f'Changes from {train}'),
        report.paragraph(
            'Of each feature the value with the largest change over all rows, and every change '
            f'that failed. Of {validation.comparisons:,} comparisons, each fails only if the '
            'two splits are certainly farther apart than allowed; in a dataset where none is, '
            f'the probability that any fails is at most {config.false_alarm_rate:g}.'
        ),
        _changes(validation),
        report.heading('Where the rows of the log went'),
        _rows(manifest),
        report.heading('Sample'),
        report.paragraph(
            'The statistics and comparisons are of '
            + '; '.join(
                f'{rows:,} of {sum(manifest.splits[split].examples.values()):,} rows of {split}'
                for split, rows in sampled.items()
            )
            + ', among them rows of every domain. Rows and clicks are counted in full.'
        ),
    ]
    storage.write_text(path, report.page(f'The dataset {manifest.name}', *parts))


def _counts(manifest: Manifest) -> Iterator[str]:
    domains = [domain.name for domain in manifest.domains]
    for split, of in manifest.splits.items():
        total, clicks = sum(of.examples.values()), sum(of.clicks.values())
        largest = max([*of.examples.values(), 1])
        rates = {
            name: of.clicks.get(name, 0) / rows for name, rows in of.examples.items() if rows
        }
        highest = max([*rates.values(), 1e-9])
        order = [name for name in domains if name in rates]
        order += [name for name in rates if name not in domains]
        yield report.paragraph(
            f'{split}, {of.days[0]} to {of.days[1]}: {total:,} rows, {clicks:,} clicks'
        )
        yield report.table(
            ['domain', 'rows', '', 'clicks', 'CTR', ''],
            [
                [
                    name,
                    of.examples[name],
                    report.bar(of.examples[name] / largest),
                    of.clicks.get(name, 0),
                    rates[name],
                    report.bar(rates[name] / highest),
                ]
                for name in order[:_MOST_ROWS]
            ],
        )
        if len(order) > _MOST_ROWS:
            yield report.details(
                f'{len(order) - _MOST_ROWS:,} more domains',
                report.table(
                    ['domain', 'rows', 'clicks', 'CTR'],
                    [
                        [name, of.examples[name], of.clicks.get(name, 0), rates[name]]
                        for name in order[_MOST_ROWS:]
                    ],
                ),
            )


def _changes(validation: Validation) -> str:
    def urgency(change: Change) -> tuple[bool, float]:
        return (not change.failed, -abs(change.after - change.before))

    rows = [
        [
            change.split,
            change.check,
            change.domain or 'all rows',
            change.quantity,
            change.before,
            change.after,
            change.allowed,
            'not judged'
            if change.allowed is None and not change.failed
            else report.mark(not change.failed),
        ]
        for change in sorted(validation.changes, key=urgency)[:_MOST_ROWS]
    ]
    if not rows:
        return report.paragraph('Nothing was compared.')
    return report.table(
        ['split', 'check', 'domain', 'quantity', 'before', 'after', 'allowed change', ''], rows
    )


def _rows(manifest: Manifest) -> str:
    rows = manifest.rows
    counts: list[list[str | int]] = [
        ['read', rows.read],
        ['rejected', rows.rejected],
        ['duplicates', rows.duplicates],
        ['outside the splits', rows.outside_splits],
        ['down-sampled', rows.down_sampled],
        ['kept', rows.kept],
        ['negatives that were sampled', rows.sampled_negatives],
    ]
    counts += [[f'rejected: {reason}', count] for reason, count in rows.reasons.items()]
    return report.table(['', 'rows'], counts)


def _count(items: list, one: str, many: str) -> str:
    return f'{len(items)} {one if len(items) == 1 else many}'

"""The HTML report of an evaluation."""

from typing import Any

from mdctr import html as report
from mdctr.storage import write_text

_MOST_ROWS = 300
_NAMES = {'auc': 'AUC', 'gauc': 'GAUC', 'log_loss': 'log loss', 'pcoc': 'PCOC'}


def write_report(path: str, values: dict[str, Any]) -> None:
    """Writes the verdict, the checks, and the metrics by domain with their intervals.

    Args:
        path: Path of the HTML file.
        values: Content of `metrics.json`.
    """
    model = values['model']
    judged = values['blessed'] if values['checks'] else None
    said = {
        True: 'Blessed',
        False: 'Not blessed',
        None: 'Not blessed: ' + '; '.join(values['reasons']),
    }[judged]
    parts = [report.verdict(judged, said)]
    if values['checks']:
        parts += [
            report.heading('Checks'),
            report.table(
                ['', 'check'],
                [[report.mark(check['passed']), check['reason']] for check in values['checks']],
            ),
        ]
    parts += [
        report.paragraph(f'Warning: {damage["reason"]}.')
        for damage in values['damaged_versions']
    ]
    parts += [report.heading('Metrics'), _metrics(values)]
    if values['replicates']:
        parts.append(
            report.paragraph(
                f'The bars are {values["confidence"]:.0%} intervals by a bootstrap of '
                f'{values["replicates"]} samples of users. Users without a click, '
                'or with clicks only, have no AUC and are left out of the GAUC.'
            )
        )
    if 'baseline' in values:
        parts += [report.heading('Against the pushed model'), _baseline(values)]
    parts.append(
        report.paragraph(
            f'The model {model["model"]} ({model["framework"]}) in {model["directory"]}, '
            'on the '
            f'split {values["split"]} of the dataset {values["dataset"]["name"]}.'
        )
    )
    title = f'Evaluation of {model["model"]} on {values["dataset"]["name"]}'
    write_text(path, report.page(title, *parts))


def _order(values: dict[str, Any]) -> list[str]:
    """The domains' names, the largest first."""
    domains = values['domains']
    return sorted(domains, key=lambda name: (-domains[name]['impressions'], name))


def _metrics(values: dict[str, Any]) -> str:
    of, by, order = values['domains'], values['intervals']['domains'], _order(values)
    scopes = [
        ('all rows', values['overall'], values['intervals']['overall']),
        *((name, of[name], by[name]) for name in order[:_MOST_ROWS]),
    ]
    scales = {
        metric: _scale(
            [figures[metric] for _, figures, _ in scopes],
            [found[metric] for _, _, found in scopes],
        )
        for metric in _NAMES
    }
    columns = ['domain', 'impressions', 'clicks', 'CTR']
    columns += [part for title in _NAMES.values() for part in (title, '')]
    columns += ['users', 'left out']
    rows: list[list[report.Cell]] = [
        [
            *_counts(name, figures),
            *(
                part
                for metric in _NAMES
                for part in (
                    figures[metric],
                    _whisker(figures[metric], found[metric], scales[metric]),
                )
            ),
            figures['gauc_users'],
            figures['gauc_users_left_out'],
        ]
        for name, figures, found in scopes
    ]
    smaller: list[list[report.Cell]] = [
        [*_counts(name, of[name]), *(of[name][metric] for metric in _NAMES)]
        for name in order[_MOST_ROWS:]
    ]
    return report.table(columns, rows) + _smaller(
        ['domain', 'impressions', 'clicks', 'CTR', *_NAMES.values()], smaller
    )


def _counts(name: str, figures: dict[str, Any]) -> list[report.Cell]:
    return [name, figures['impressions'], figures['clicks'], figures['ctr']]


def _smaller(columns: list[str], rows: list[list[report.Cell]]) -> str:
    """The domains after the first ones, folded away and without graphics; '' for none."""
    if not rows:
        return ''
    return report.details(f'{len(rows):,} smaller domains', report.table(columns, rows))


def _baseline(values: dict[str, Any]) -> str:
    deltas, found, order = values['deltas'], values['delta_intervals'], _order(values)
    columns = ['domain', *(f'{title}, difference' for title in _NAMES.values())]
    scopes = [('all rows', deltas['overall'], found['overall'])]
    scopes += [(name, deltas['domains'][name], found['domains'][name]) for name in order]
    rows: list[list[report.Cell]] = [
        [name, *(_signed(one[metric], bounds[metric]) for metric in _NAMES)]
        for name, one, bounds in scopes
    ]
    return report.table(columns, rows[: _MOST_ROWS + 1]) + _smaller(
        columns, rows[_MOST_ROWS + 1 :]
    )


def _signed(value: float | None, bounds: list[float] | None) -> str | None:
    if value is None:
        return None
    return f'{value:+.4f}' + (f' ({bounds[0]:+.4f} to {bounds[1]:+.4f})' if bounds else '')


def _scale(values: list[float | None], bounds: list[list[float] | None]) -> tuple[float, float]:
    there = [value for value in values if value is not None]
    there += [bound for pair in bounds if pair for bound in pair]
    return (min(there), max(there)) if there else (0.0, 1.0)


def _whisker(
    value: float | None, bounds: list[float] | None, scale: tuple[float, float]
) -> report.Html:
    if value is None or bounds is None:
        return report.Html('')
    return report.whisker(bounds[0], value, bounds[1], *scale)

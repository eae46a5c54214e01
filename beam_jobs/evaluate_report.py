"""The page on an evaluated model."""

from typing import Any

from beam_jobs import report

_MOST_ROWS = 300
_NAMES = {'auc': 'AUC', 'gauc': 'GAUC', 'log_loss': 'log loss', 'pcoc': 'PCOC'}


def write_report(path: str, values: dict[str, Any]) -> None:
    """Writes the page: verdict, checks, metrics by domain with their intervals, the baseline.

    Args:
        path: of the HTML file.
        values: what `metrics.json` holds.
    """
    model = values['model']
    judged = values['blessed'] if values['checks'] else None
    said = {True: 'Blessed', False: 'Not blessed', None: 'Not judged, and not blessed: '
            + '; '.join(values['reasons'])}[judged]
    parts = [report.verdict(judged, said)]
    if values['checks']:
        parts += [report.heading('Checks'), report.table(
            ['', 'check'], [[report.mark(check['passed']), check['reason']]
                            for check in values['checks']])]
    parts += [report.heading('Metrics'), _metrics(values)]
    if values['replicates']:
        parts.append(report.paragraph(
            f'The lines are {values["confidence"]:.0%} intervals by a bootstrap of '
            f'{values["replicates"]} samples of users. Users with clicks alone, or with none, '
            'have no AUC and are left out of the GAUC.'))
    if 'baseline' in values:
        parts += [report.heading('Beside the pushed model'), _baseline(values)]
    parts.append(report.paragraph(
        f'The model {model["model"]} ({model["framework"]}) in {model["directory"]}, on the '
        f'split {values["split"]} of the dataset {values["dataset"]["name"]}.'))
    with open(path, 'w', encoding='utf-8') as file:
        file.write(report.page(f'Evaluation of {model["model"]} on '
                               f'{values["dataset"]["name"]}', *parts))


def _scopes(values: dict[str, Any]) -> list[tuple[str, dict, dict]]:
    """Name, metrics and intervals: all rows first, then domains, the largest first."""
    of, by = values['domains'], values['intervals']['domains']
    order = sorted(of, key=lambda name: -of[name]['impressions'])[:_MOST_ROWS]
    return [('overall', values['overall'], values['intervals']['overall']),
            *((name, of[name], by[name]) for name in order)]


def _metrics(values: dict[str, Any]) -> str:
    scopes = _scopes(values)
    scales = {metric: _scale([of[metric] for _, of, _ in scopes],
                             [found[metric] for _, _, found in scopes]) for metric in _NAMES}
    columns = ['domain', 'impressions', 'clicks', 'CTR']
    columns += [part for title in _NAMES.values() for part in (title, '')]
    columns += ['users', 'left out']
    rows = [[name, of['impressions'], of['clicks'], of['ctr'],
             *(part for metric in _NAMES for part in (
                 of[metric], _whisker(of[metric], found[metric], scales[metric]))),
             of['gauc_users'], of['gauc_users_left_out']] for name, of, found in scopes]
    return report.table(columns, rows)


def _baseline(values: dict[str, Any]) -> str:
    deltas, found = values['deltas'], values['delta_intervals']
    rows = []
    for name, _, _ in _scopes(values):
        one, bounds = ((deltas['overall'], found['overall']) if name == 'overall' else
                       (deltas['domains'][name], found['domains'][name]))
        rows.append([name, *(_signed(one[metric], bounds[metric]) for metric in _NAMES)])
    return report.table(['domain', *(f'{title}, difference' for title in _NAMES.values())],
                        rows)


def _signed(value: float | None, bounds: list[float] | None) -> str | None:
    if value is None:
        return None
    return f'{value:+.4f}' + (f' ({bounds[0]:+.4f} to {bounds[1]:+.4f})' if bounds else '')


def _scale(values: list[float | None], bounds: list[list[float] | None]) -> tuple[float, float]:
    there = [value for value in values if value is not None]
    there += [bound for pair in bounds if pair for bound in pair]
    return (min(there), max(there)) if there else (0.0, 1.0)


def _whisker(value: float | None, bounds: list[float] | None,
             scale: tuple[float, float]) -> report.Html:
    if value is None or bounds is None:
        return report.Html('')
    return report.whisker(bounds[0], value, bounds[1], *scale)

"""The metrics of an evaluation as artifacts of Kubeflow's user interface."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfp import dsl

OVERALL_METRICS = ('auc', 'gauc', 'log_loss', 'pcoc', 'ctr', 'impressions')
_NAMED_DOMAINS = 5
# The user interface cuts Markdown off at 400,000 characters.
_MOST_CHARACTERS = 300_000


def log_metrics(metrics: 'dsl.Metrics', values: Mapping[str, Any]) -> None:
    """Logs the overall metrics, and the AUC of the five best and the five worst domains.

    The name of a domain is never a key by itself, so no domain can hide an overall metric.

    Args:
        metrics: Output artifact.
        values: Metrics, as returned by `mdctr.metrics.domain_metrics`.
    """
    for key in OVERALL_METRICS:
        _log(metrics, key, values['overall'][key])
    ranked = rank_domains(values['domains'])
    best = ranked[:_NAMED_DOMAINS]
    worst = ranked[max(_NAMED_DOMAINS, len(ranked) - _NAMED_DOMAINS) :][::-1]
    for kind, names in (('best', best), ('worst', worst)):
        for place, name in enumerate(names, 1):
            _log(metrics, f'AUC, {kind} domain {place}: {name}', values['domains'][name]['auc'])


def rank_domains(domains: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of the domains with a defined AUC, in descending order of AUC."""
    known = [name for name, values in domains.items() if values['auc'] is not None]
    return sorted(known, key=lambda name: (-domains[name]['auc'], name))


def domain_table(values: Mapping[str, Any]) -> str:
    """The metrics of all rows and of each domain, the largest domain first, in Markdown.

    Args:
        values: Content of `metrics.json` of an evaluation.
    """
    verdict = 'Blessed' if values['blessed'] else 'Not blessed'
    title = f'# Evaluation of {values["model"]["model"]} on {values["dataset"]["name"]}'
    lines = [_cell(title), '', f'**{verdict}**', '']
    lines += [f'- {_cell(reason)}' for reason in values['reasons'][:20]]
    if len(values['reasons']) > 20:
        lines.append(f'- and {len(values["reasons"]) - 20:,} more, in the report')
    lines += [
        '',
        '| domain | impressions | CTR | AUC | GAUC | log loss | PCOC |',
        '| :-- | --: | --: | --: | --: | --: | --: |',
        _row('**all rows**', values['overall']),
    ]
    size = sum(len(line) + 1 for line in lines)
    domains = values['domains']
    ordered = sorted(domains, key=lambda name: (-domains[name]['impressions'], name))
    for count, name in enumerate(ordered):
        line = _row(_cell(name), domains[name])
        size += len(line) + 1
        if size > _MOST_CHARACTERS:
            lines += ['', f'And {len(ordered) - count:,} smaller domains, in the report.']
            break
        lines.append(line)
    return '\n'.join(lines) + '\n'


def _log(metrics: 'dsl.Metrics', key: str, value: float | None) -> None:
    if value is not None and math.isfinite(value):  # NaN and null would fail the task
        metrics.log_metric(key, value)


def _row(name: str, values: Mapping[str, Any]) -> str:
    metrics = [values[key] for key in ('ctr', 'auc', 'gauc', 'log_loss', 'pcoc')]
    shown = ['–' if value is None else f'{value:.4f}' for value in metrics]
    return f'| {name} | {values["impressions"]:,} | {" | ".join(shown)} |'


def _cell(text: str) -> str:
    """Escapes text for a Markdown table, on one line."""
    escaped = ''.join('\\' + char if char in '\\|*_`<>[]' else char for char in text)
    return ' '.join(escaped.split())

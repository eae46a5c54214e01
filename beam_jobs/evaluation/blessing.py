"""Blessing: a model's metrics against thresholds, and against pushed models."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from beam_jobs.evaluation.comparison import (
    Comparison,
    compare_domains,
    compare_metric,
)
from beam_jobs.evaluation.config import DomainThresholds, EvaluateConfig

NO_THRESHOLDS = 'no thresholds are set'
PUSHED, BEST = 'the pushed model', 'the best of the recent pushes'


@dataclass(frozen=True)
class Check:
    """The outcome of one threshold.

    Attributes:
        name: Configuration key of the threshold, e.g. `min_auc`.
        scope: `overall`, `domains` (all compared domains), or the name of a domain.
        value: Measured value; None if it is undefined.
        threshold: A number, or `[low, high]`.
        passed: Whether the model passes.
        reason: The outcome as a sentence.
    """

    name: str
    scope: str
    value: float | None
    threshold: float | list[float]
    passed: bool
    reason: str


@dataclass(frozen=True)
class Measured:
    """Metrics of one model on the rows of an evaluation, with their bootstrap replicates.

    Attributes:
        metrics: `overall` and `domains`, as of `mdctr.metrics.domain_metrics`.
        replicates: The same structure, with arrays of [replicates] by metric.
    """

    metrics: dict[str, Any]
    replicates: dict[str, Any] = field(default_factory=lambda: {'overall': {}, 'domains': {}})


def check_thresholds(
    model: Measured, references: Mapping[str, Measured], config: EvaluateConfig
) -> list[Check]:
    """Checks every threshold.

    Args:
        model: The model that is evaluated.
        references: By `PUSHED` and, where it is another one, `BEST`: the models that it is
            compared with, on the same rows. Empty if no model has been pushed.
        config: The thresholds.

    Returns:
        A check for every threshold of the configuration and every failed comparison of a
        domain; the domains that pass share one.
    """
    metrics = model.metrics
    overall = DomainThresholds(
        min_auc=config.min_auc, min_gauc=config.min_gauc, pcoc_band=config.pcoc_band
    )
    checks = [*_absolute('overall', metrics['overall'], overall, config)]
    for name, thresholds in config.domain_thresholds.items():
        checks += _absolute(name, metrics['domains'].get(name, {}), thresholds, config)
    if config.domain_pcoc_band is not None:
        for name, values in metrics['domains'].items():
            own = config.domain_thresholds.get(name)
            if values['impressions'] >= config.min_impressions and not (own and own.pcoc_band):
                checks.append(_band(name, values, config.domain_pcoc_band, 'domain_pcoc_band'))
    return checks + _relative(model, references, config)


def _relative(
    model: Measured, references: Mapping[str, Measured], config: EvaluateConfig
) -> list[Check]:
    """The comparisons with other models; all of them share the rate of false refusals."""
    if not references:
        if config.max_gauc_drop is None:
            return []
        return [
            Check(
                'max_gauc_drop',
                'overall',
                None,
                config.max_gauc_drop,
                True,
                'overall: no model is pushed yet to compare with',
            )
        ]
    domains = {
        title: list(_domain_comparisons(model, reference, config))
        for title, reference in references.items()
    }
    count = sum(map(len, domains.values()))
    count += len(references) * (config.max_gauc_drop is not None)
    level = config.false_refusal_rate / max(1, count)
    checks = []
    for title, reference in references.items():
        if config.max_gauc_drop is not None:
            checks.append(_overall_drop(model, reference, title, config, level))
        checks += _domain_drops(domains[title], title, config, level)
    return checks


def _overall_drop(
    model: Measured, reference: Measured, title: str, config: EvaluateConfig, level: float
) -> Check:
    most = config.max_gauc_drop
    assert most is not None
    values, before = model.metrics['overall'], reference.metrics['overall']
    metric = _ranking_metric(values, before, config)
    if metric is None:
        return Check(
            'max_gauc_drop',
            'overall',
            None,
            most,
            False,
            f'overall: the GAUC is undefined, so that the model cannot be compared with {title}'
            + _HINT[config.undefined_gauc],
        )
    comparison = compare_metric(
        'overall',
        False,
        metric,
        values,
        before,
        model.replicates['overall'],
        reference.replicates['overall'],
    )
    if comparison is None:  # without replicates, or with a single user: no error is known
        loss = before[metric] - values[metric]
        comparison = Comparison(
            'overall', False, metric, values[metric], before[metric], loss, 0.0
        )
    return _drop_check('max_gauc_drop', comparison, title, most, level)


def _domain_comparisons(
    model: Measured, reference: Measured, config: EvaluateConfig
) -> Iterator[Comparison]:
    wanted = set()
    if config.max_domain_gauc_drop is not None:
        wanted.add('ranking')
    if config.max_domain_pcoc_drift is not None:
        wanted.add('pcoc')
    return compare_domains(
        model.metrics['domains'],
        reference.metrics['domains'],
        model.replicates['domains'],
        reference.replicates['domains'],
        config.min_domain_clicks,
        frozenset(wanted),
    )


def _domain_drops(
    comparisons: list[Comparison], title: str, config: EvaluateConfig, level: float
) -> Iterator[Check]:
    """A check for each domain that fails, and one for all that pass."""
    failed = 0
    for comparison in comparisons:
        name = 'max_domain_gauc_drop'
        if comparison.metric == 'pcoc':
            name = 'max_domain_pcoc_drift'
        most = getattr(config, name)
        check = _drop_check(name, comparison, title, most, level)
        if not check.passed:
            failed += 1
            yield check
    compared = {comparison.scope for comparison in comparisons}
    if compared and not failed:
        yield Check(
            'max_domain_gauc_drop',
            'domains',
            None,
            config.max_domain_gauc_drop or 0.0,
            True,
            f'domains: none of the {len(compared)} with enough clicks is worse than {title} '
            'beyond its margin',
        )


def _drop_check(
    name: str, comparison: Comparison, title: str, most: float, level: float
) -> Check:
    margin = most
    if comparison.metric == 'pcoc':
        margin = float(np.log1p(most))
    bound = comparison.lower_bound(level) if comparison.error else comparison.loss
    passed = bound <= margin
    metric = comparison.metric.upper()
    digits = 3 if comparison.metric == 'pcoc' else 4
    compared = (
        f'{comparison.scope}: {metric} {comparison.value:.{digits}f} against '
        f'{comparison.reference:.{digits}f} of {title}'
    )
    if not passed:
        outcome = f'is worse by more than the allowed {most:g}, beyond its noise'
    elif comparison.loss <= margin:
        outcome = f'is within the allowed drop of {most:g}'
    else:
        outcome = f'is worse by more than the allowed {most:g}, but within its noise'
    return Check(name, comparison.scope, comparison.loss, most, passed, f'{compared} {outcome}')


_HINT = {
    'refuse': '; `undefined_gauc: auc` compares the AUC instead',
    'auc': ' (nor is the AUC defined)',
}


def _ranking_metric(
    values: dict[str, Any], before: dict[str, Any], config: EvaluateConfig
) -> Any:
    """`gauc`, or `auc` if configured for an undefined GAUC; None if there is none."""
    if values['gauc'] is not None and before['gauc'] is not None:
        return 'gauc'
    both = values['auc'] is not None and before['auc'] is not None
    return 'auc' if config.undefined_gauc == 'auc' and both else None


def _absolute(
    scope: str, values: dict[str, Any], thresholds: DomainThresholds, config: EvaluateConfig
) -> Iterator[Check]:
    for name, metric, least in (
        ('min_auc', 'auc', thresholds.min_auc),
        ('min_gauc', 'gauc', thresholds.min_gauc),
    ):
        if least is not None:
            value = values.get(metric)
            if value is None and metric == 'gauc' and config.undefined_gauc == 'auc':
                metric, value = 'auc', values.get('auc')
            passed = value is not None and value >= least
            yield Check(
                name,
                scope,
                value,
                least,
                passed,
                f'{scope}: {metric.upper()} {_text(value)} is '
                f'{"at least" if passed else "not at least"} {least:g}',
            )
    if thresholds.pcoc_band is not None:
        yield _band(scope, values, thresholds.pcoc_band, 'pcoc_band')


def _band(scope: str, values: dict[str, Any], band: tuple[float, float], name: str) -> Check:
    value = values.get('pcoc')
    passed = value is not None and band[0] <= value <= band[1]
    return Check(
        name,
        scope,
        value,
        list(band),
        passed,
        f'{scope}: PCOC {_text(value)} is {"inside" if passed else "outside"} '
        f'{band[0]:g} to {band[1]:g}',
    )


def _text(value: float | None) -> str:
    return 'undefined' if value is None else f'{value:.4f}'

"""The verdict on a model: its metrics against thresholds and against the pushed model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from beam_jobs.judge_config import EvaluateConfig, Floor

NO_THRESHOLDS = 'no thresholds are set'


@dataclass(frozen=True)
class Check:
    """One threshold and what came of it.

    Attributes:
        name: of the setting, e.g. `min_auc`.
        scope: a domain's name, or `overall`.
        value: that was measured, None where it is undefined.
        threshold: a number, or `[low, high]`.
        passed: whether it held.
        reason: the same as a sentence.
    """

    name: str
    scope: str
    value: float | None
    threshold: float | list[float]
    passed: bool
    reason: str


def judge(metrics: dict[str, Any], baseline: dict[str, Any] | None,
          config: EvaluateConfig) -> list[Check]:
    """Every threshold that is set, checked.

    Args:
        metrics: of the model, as `beam_jobs.metrics.domain_metrics` makes them.
        baseline: of the pushed model on the same rows; None where there is none.
        config: the thresholds.

    Returns:
        A check for each; none where none is set, which is no verdict.
    """
    overall = metrics['overall']
    checks = [*_floors('overall', overall, Floor(config.min_auc, config.min_gauc,
                                                 config.pcoc_band))]
    if config.max_gauc_drop is not None:
        checks.append(_drop(overall, baseline, config.max_gauc_drop))
    for name, floor in config.domains.items():
        checks += _floors(name, metrics['domains'].get(name, {}), floor)
    if config.domain_pcoc_band is not None:
        for name, values in metrics['domains'].items():
            own = config.domains.get(name)
            if values['impressions'] >= config.min_impressions and not (
                    own and own.pcoc_band):
                checks.append(_band(name, values, config.domain_pcoc_band, 'domain_pcoc_band'))
    return checks


def _floors(scope: str, values: dict[str, Any], floor: Floor) -> Iterator[Check]:
    for name, metric, least in (('min_auc', 'auc', floor.min_auc),
                                ('min_gauc', 'gauc', floor.min_gauc)):
        if least is not None:
            value = values.get(metric)
            passed = value is not None and value >= least
            yield Check(name, scope, value, least, passed,
                        f'{scope}: {metric.upper()} {_shown(value)} is '
                        f'{"at least" if passed else "not at least"} {least:g}')
    if floor.pcoc_band is not None:
        yield _band(scope, values, floor.pcoc_band, 'pcoc_band')


def _band(scope: str, values: dict[str, Any], band: tuple[float, float], name: str) -> Check:
    value = values.get('pcoc')
    passed = value is not None and band[0] <= value <= band[1]
    return Check(name, scope, value, list(band), passed,
                 f'{scope}: PCOC {_shown(value)} is {"inside" if passed else "outside"} '
                 f'{band[0]:g} to {band[1]:g}')


def _drop(overall: dict[str, Any], baseline: dict[str, Any] | None, most: float) -> Check:
    if baseline is None:
        return Check('max_gauc_drop', 'overall', None, most, True,
                     'overall: no model is pushed yet to compare the GAUC with')
    value, before = overall['gauc'], baseline['overall']['gauc']
    if before is None:
        return Check('max_gauc_drop', 'overall', None, most, True,
                     'overall: the pushed model has no GAUC on this split to compare with')
    if value is None:
        return Check('max_gauc_drop', 'overall', None, most, False,
                     'overall: GAUC is undefined, and the pushed model has one')
    passed = value >= before - most
    return Check('max_gauc_drop', 'overall', before - value, most, passed,
                 f'overall: GAUC {value:.4f} beside the pushed model\'s {before:.4f} is '
                 f'{"within" if passed else "more than"} the allowed drop of {most:g}'
                 + ('' if passed else ' below it'))


def _shown(value: float | None) -> str:
    return 'undefined' if value is None else f'{value:.4f}'

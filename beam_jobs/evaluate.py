"""A dataset and a model to scores, metrics with their confidence, and a verdict."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from beam_jobs.dataset import Manifest, read_manifest
from beam_jobs.errors import UserError
from beam_jobs.evaluate_report import write_report
from beam_jobs.exported import model_digest, read_model_json
from beam_jobs.intervals import RESAMPLED, Columns, Replicates, interval, replicate
from beam_jobs.judge_config import EvaluateConfig
from beam_jobs.metrics import domain_metrics, rows_by_domain
from beam_jobs.score import read_scores, score_split
from beam_jobs.verdict import NO_THRESHOLDS, judge

METRICS_JSON = 'metrics.json'
_ALL_ROWS = 2**32 - 1  # the random stream of the rows of all domains together


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found; `metrics.json` holds it all.

    Attributes:
        metrics: `overall` and `domains`, as `beam_jobs.metrics.domain_metrics` makes them.
        blessed: whether every threshold held, and there is one.
        reasons: a sentence for each threshold.
        values: the whole of `metrics.json`.
    """

    metrics: dict[str, Any]
    blessed: bool
    reasons: list[str]
    values: dict[str, Any]


def evaluate(dataset: str, model: str, output: str, config: EvaluateConfig,
             baseline: str | None = None, beam_args: Sequence[str] = (),
             domains: Sequence[str] | None = None) -> Evaluation:
    """Scores a split with Beam and judges the model, beside the pushed one if there is one.

    Writes `scores/` (Parquet), with a baseline `baseline_scores/` of the same rows in the same
    order, `metrics.json` and `report.html`. Where a portion w of the log's negatives was kept,
    a model predicts the CTR of the whole log; each negative then stands for 1 / w in `ctr`,
    `log_loss` and `pcoc`.

    Args:
        dataset: its directory.
        model: the directory of the exported model.
        output: the directory for what is written.
        config: the split and the thresholds.
        baseline: the directory of the pushed model, of this dataset or another one.
        beam_args: ordinary Beam options; without `--runner` it runs in this process.
        domains: the names of those whose rows are scored, and are all that is `overall`; all
            domains when absent.

    Raises:
        UserError: no such dataset, split, model or domain, or scores that are no numbers.
    """
    manifest = read_manifest(dataset)
    _check_domains(dataset, manifest, [*config.domains, *(domains or [])])
    chosen = None if domains is None else sorted(set(domains))
    described = read_model_json(model)
    os.makedirs(output, exist_ok=True)
    _remove_stale(output)
    columns, rows_domains = _scored(dataset, manifest, model, os.path.join(output, 'scores'),
                                    config, beam_args, chosen)
    names = {domain.id: domain.name for domain in manifest.domains
             if chosen is None or domain.name in chosen}
    metrics, samples = _measure(columns, rows_domains, names, config)
    values = {**metrics, 'intervals': _intervals(samples, config),
              'confidence': config.confidence, 'replicates': config.replicates,
              'split': config.split,
              'model': {**_name(described), 'directory': model,
                        'digest': model_digest(model)},
              'dataset': {'name': manifest.name, 'fingerprint': manifest.fingerprint}}
    before = None
    if baseline is not None:
        other, _ = _scored(dataset, manifest, baseline,
                           os.path.join(output, 'baseline_scores'), config, beam_args,
                           chosen)
        before, other_samples = _measure(other, rows_domains, names, config)
        values |= {'baseline': {**before, **_name(read_model_json(baseline)),
                                'directory': baseline},
                   'deltas': _deltas(metrics, before),
                   'delta_intervals': _intervals(_differences(samples, other_samples),
                                                 config)}
    checks = judge(metrics, before, config)
    blessed = bool(checks) and all(check.passed for check in checks)
    reasons = [check.reason for check in checks] or [NO_THRESHOLDS]
    values |= {'blessed': blessed, 'reasons': reasons,
               'checks': [asdict(check) for check in checks]}
    write_report(os.path.join(output, 'report.html'), values)
    _write(os.path.join(output, METRICS_JSON), values)
    return Evaluation(metrics, blessed, reasons, values)


def _check_domains(dataset: str, manifest: Manifest, wanted: Sequence[str]) -> None:
    known = {domain.name for domain in manifest.domains}
    for name in wanted:
        if name not in known:
            raise UserError(f'evaluate.domains: the dataset {dataset} has no domain {name}; it '
                            f'has {", ".join(sorted(known)[:20])}.')


def _remove_stale(output: str) -> None:
    """A verdict of an evaluation before this one must not outlive its scores."""
    for name in (METRICS_JSON, 'report.html'):
        if os.path.exists(os.path.join(output, name)):
            os.remove(os.path.join(output, name))
    for name in ('scores', 'baseline_scores'):
        shutil.rmtree(os.path.join(output, name), ignore_errors=True)


def _scored(dataset: str, manifest: Manifest, model: str, scores: str, config: EvaluateConfig,
            beam_args: Sequence[str],
            chosen: list[str] | None) -> tuple[Columns, np.ndarray]:
    """The scored rows, and their domains."""
    score_split(dataset, manifest, config.split, model, scores, config.batch_size, beam_args,
                chosen)
    rows = read_scores(scores)
    expected = sum(count for name, count in manifest.splits[config.split].examples.items()
                   if chosen is None or name in chosen)
    if len(rows['click']) != expected:
        raise UserError(f'The split {config.split} of {dataset} has {len(rows["click"]):,} '
                        f'rows, and its manifest says {expected:,}: build it again.')
    if not expected:
        raise UserError(f'The split {config.split} of {dataset} has no rows.')
    wrong = int((~np.isfinite(rows['score'])).sum())
    if wrong:
        raise UserError(f'The model {model} gives {wrong:,} of {expected:,} rows of the split '
                        f'{config.split} a score that is no number: train it again.')
    weights = manifest.row_weights(rows['click'])
    return Columns(rows['user_key'], rows['click'], rows['score'], weights), rows['domain']


def _measure(columns: Columns, domains: np.ndarray, names: dict[int, str],
             config: EvaluateConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics, and their bootstrap replicates in the same structure."""
    metrics = domain_metrics(domains, columns.user_keys, columns.labels, columns.scores, names,
                             columns.weights)
    samples = {'overall': replicate(columns, config.replicates, config.seed, _ALL_ROWS),
               'domains': {
                   name: replicate(Columns(*(column[rows] for column in columns)),
                                   config.replicates, config.seed, number)
                   for name, number, rows in rows_by_domain(domains, names)}}
    return metrics, samples


def _intervals(samples: dict[str, Any], config: EvaluateConfig) -> dict[str, Any]:
    def of(replicates: Replicates) -> dict[str, Any]:
        return {name: interval(values, config.confidence)
                for name, values in replicates.items()}

    return {'overall': of(samples['overall']),
            'domains': {name: of(found) for name, found in samples['domains'].items()}}


def _differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Replicate by replicate: both were drawn from the same users."""
    def of(first: Replicates, second: Replicates) -> Replicates:
        return {name: first[name] - second[name] for name in first}

    return {'overall': of(one['overall'], other['overall']),
            'domains': {name: of(found, other['domains'][name])
                        for name, found in one['domains'].items()}}


def _deltas(metrics: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    def of(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
        return {name: None if new[name] is None or old[name] is None else new[name] - old[name]
                for name in RESAMPLED}

    return {'overall': of(metrics['overall'], before['overall']),
            'domains': {name: of(values, before['domains'][name])
                        for name, values in metrics['domains'].items()}}


def _name(described: dict[str, Any]) -> dict[str, Any]:
    return {'model': described.get('model'), 'framework': described.get('framework'),
            'trained_on': described['dataset']['fingerprint']}


def _write(path: str, values: dict[str, Any]) -> None:
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        json.dump(values, file, indent=1, ensure_ascii=False, allow_nan=False)
        file.write('\n')
    os.replace(path + '.tmp', path)

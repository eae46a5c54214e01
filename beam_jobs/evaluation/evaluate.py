"""Evaluates a model on a dataset: scores, metrics with confidence intervals, blessing."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from beam_jobs.evaluation.blessing import (
    BEST,
    NO_THRESHOLDS,
    PUSHED,
    Check,
    Measured,
    check_thresholds,
)
from beam_jobs.evaluation.bootstrap import RESAMPLED, Columns, Replicates, interval, replicate
from beam_jobs.evaluation.config import EvaluateConfig
from beam_jobs.evaluation.report import write_report
from beam_jobs.evaluation.score import read_scores, score_split, scoring_problem
from mdctr import storage
from mdctr.dataset import Dataset, open_dataset
from mdctr.errors import UserError
from mdctr.exported_model import model_digest, model_problem, read_model_json
from mdctr.manifest import Manifest
from mdctr.metrics import domain_metrics, rows_by_domain

METRICS_JSON = 'metrics.json'
_ALL_ROWS = 2**32 - 1  # random stream of the rows of all domains together
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        metrics: `overall` and `domains`, as of `mdctr.metrics.domain_metrics`.
        blessed: Whether there are thresholds and the model passes all.
        reasons: A sentence for each threshold.
        values: The content of `metrics.json`.
    """

    metrics: dict[str, Any]
    blessed: bool
    reasons: list[str]
    values: dict[str, Any]


def evaluate(
    dataset: str | Dataset,
    model: str,
    output: str,
    config: EvaluateConfig,
    pushed: Sequence[str] = (),
    beam_args: Sequence[str] = (),
    domains: Sequence[str] | None = None,
) -> Evaluation:
    """Scores a split with Beam and decides whether the model is blessed.

    Writes `scores/` (Parquet), `baseline_scores/` of the pushed model that it is compared with
    (the same rows in the same order), `metrics.json` and `report.html`. Where a portion w of
    the log's negatives was kept, a model predicts the CTR of the whole log; each negative then
    stands for 1 / w in `ctr`, `log_loss` and `pcoc`.

    Args:
        dataset: Directory of the dataset or of a version, or an open dataset.
        model: Directory of the exported model.
        output: Directory that is written.
        config: The split and the thresholds.
        pushed: Directories of the pushed versions, complete or not, of this dataset or another
            one, the newest first. The model is compared with the first that is complete and
            can be loaded; others before it are reported. With `reference: best`, it is also
            compared with the best of them.
        beam_args: Ordinary Beam options; without `--runner`, the job runs in this process.
        domains: Names of the domains whose rows are scored, and are `overall`; all domains by
            default.

    Raises:
        UserError: The dataset, the split, the model or a domain does not exist; scores are not
            finite; or `output` cannot be written.
    """
    storage.check_writable(output)
    with storage.reporting_errors(output):
        opened = open_dataset(dataset)
        return _evaluate(opened, model, output, config, pushed, beam_args, domains)


def _evaluate(
    opened: Dataset,
    model: str,
    output: str,
    config: EvaluateConfig,
    pushed: Sequence[str],
    beam_args: Sequence[str],
    domains: Sequence[str] | None,
) -> Evaluation:
    dataset, manifest = opened.directory, opened.manifest
    _check_domains(dataset, manifest, [*config.domain_thresholds, *(domains or [])])
    chosen = None if domains is None else sorted(set(domains))
    described = read_model_json(model)
    _remove_stale(output)
    names = {
        domain.id: domain.name
        for domain in manifest.domains
        if chosen is None or domain.name in chosen
    }

    def score_and_measure(directory: str, scores: str) -> Measured:
        columns, row_domains = _scored(
            dataset,
            manifest,
            directory,
            storage.join(output, scores),
            config,
            beam_args,
            chosen,
        )
        return measure(*columns, row_domains, names, config)

    measured = score_and_measure(model, 'scores')
    values = {
        **measured.metrics,
        'intervals': _intervals(measured.replicates, config),
        'confidence': config.confidence_level,
        'replicates': config.bootstrap_replicates,
        'split': config.split,
        'model': {**_name(described), 'directory': model, 'digest': model_digest(model)},
        'dataset': {
            'name': manifest.name,
            'fingerprint': manifest.fingerprint,
            'extends': manifest.extends,
        },
        # What is served now: push refuses the model once that has changed.
        'pushed': _served(pushed),
    }
    references, values['damaged_versions'] = _references(
        dataset, manifest, pushed, config, score_and_measure
    )
    usable = list(references)
    storage.remove_directory(storage.join(output, 'reference_scores'))
    compared = {}
    if usable:
        compared[PUSHED] = references[usable[0]]
        before = compared[PUSHED].metrics
        values |= {
            'baseline': {
                **before,
                **_name(read_model_json(usable[0])),
                'directory': usable[0],
            },
            'deltas': _deltas(measured.metrics, before),
            'delta_intervals': _intervals(
                _differences(measured.replicates, compared[PUSHED].replicates), config
            ),
        }
        best = max(usable, key=lambda directory: _rank(references[directory]))
        if best != usable[0]:
            compared[BEST] = references[best]
            values['best'] = {'directory': best, 'overall': references[best].metrics['overall']}
    checks = check_thresholds(measured, compared, config)
    if pushed and not usable:
        checks.append(_nothing_to_compare(pushed))
    blessed = config.has_thresholds and all(check.passed for check in checks)
    reasons = [check.reason for check in checks] if config.has_thresholds else [NO_THRESHOLDS]
    reasons += [f'warning: {damage["reason"]}' for damage in values['damaged_versions']]
    values |= {
        'blessed': blessed,
        'reasons': reasons,
        'checks': [asdict(check) for check in checks],
    }
    write_report(storage.join(output, 'report.html'), values)
    storage.write_json(storage.join(output, METRICS_JSON), values)
    return Evaluation(measured.metrics, blessed, reasons, values)


def _served(pushed: Sequence[str]) -> dict[str, str] | None:
    """The newest complete version; the others are not versions to a push."""
    for directory in pushed:
        if model_problem(directory) is None:
            return {'directory': directory, 'digest': model_digest(directory)}
    return None


def _references(
    dataset: str,
    manifest: Manifest,
    pushed: Sequence[str],
    config: EvaluateConfig,
    score_and_measure: Callable[[str, str], Measured],
) -> tuple[dict[str, Measured], list[dict[str, str]]]:
    """The pushed versions to compare with, the newest first, and the damaged ones before them.

    A served version that cannot be loaded must neither fail the evaluation of its successor
    nor let any successor pass: the version before it takes its place. Each version is scored
    as soon as it has been loaded, so that one at a time is in memory.
    """
    wanted = config.recent_pushes if config.reference == 'best' else 1
    references: dict[str, Measured] = {}
    damaged = []
    for directory in pushed:
        if len(references) == wanted:
            break
        problem = model_problem(directory) or scoring_problem(dataset, manifest, directory)
        if problem is None:
            scores = 'reference_scores' if references else 'baseline_scores'
            references[directory] = score_and_measure(directory, scores)
            continue
        reason = (
            f'the pushed version {directory} cannot score this dataset ({problem}); the model '
            'is compared with the version before it'
        )
        logger.warning('%s', reason[0].upper() + reason[1:] + '.')
        damaged.append({'directory': directory, 'reason': reason})
    return references, damaged


def _nothing_to_compare(pushed: Sequence[str]) -> Check:
    return Check(
        'reference',
        'overall',
        None,
        0.0,
        False,
        f'overall: none of the {len(pushed)} pushed versions can score this dataset; '
        'remove them to push a first model',
    )


def _rank(measured: Measured) -> tuple[float, float]:
    """Orders models by their GAUC, then their AUC, over all rows."""
    overall = measured.metrics['overall']
    gauc, auc = overall['gauc'], overall['auc']
    return (-1.0 if gauc is None else gauc, -1.0 if auc is None else auc)


def _check_domains(dataset: str, manifest: Manifest, wanted: Sequence[str]) -> None:
    known = {domain.name for domain in manifest.domains}
    for name in wanted:
        if name not in known:
            raise UserError(
                f'evaluate.domain_thresholds: the dataset {dataset} has no domain {name}; it '
                f'has {", ".join(sorted(known)[:20])}.'
            )


def _remove_stale(output: str) -> None:
    """Removes the files of an earlier evaluation, whose verdict must not outlive its scores."""
    for name in (METRICS_JSON, 'report.html'):
        storage.remove(storage.join(output, name))
    for name in ('scores', 'baseline_scores', 'reference_scores'):
        storage.remove_directory(storage.join(output, name))


def _scored(
    dataset: str,
    manifest: Manifest,
    model: str,
    scores: str,
    config: EvaluateConfig,
    beam_args: Sequence[str],
    chosen: list[str] | None,
) -> tuple[Columns, np.ndarray]:
    """The scored rows, and their domains."""
    score_split(
        dataset, manifest, config.split, model, scores, config.batch_size, beam_args, chosen
    )
    rows = read_scores(scores)
    expected = sum(
        count
        for name, count in manifest.splits[config.split].examples.items()
        if chosen is None or name in chosen
    )
    if len(rows['click']) != expected:
        raise UserError(
            f'The split {config.split} of {dataset} has {len(rows["click"]):,} '
            f'rows, and its manifest says {expected:,}: build it again.'
        )
    if not expected:
        raise UserError(f'The split {config.split} of {dataset} has no rows.')
    wrong = int((~np.isfinite(rows['score'])).sum())
    if wrong:
        raise UserError(
            f'The model {model} gives {wrong:,} of {expected:,} rows of the split '
            f'{config.split} a score that is not a finite number; train it again.'
        )
    weights = manifest.row_weights(rows['click'])
    return Columns(rows['user_key'], rows['click'], rows['score'], weights), rows['domain']


def measure(
    user_keys: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    domains: np.ndarray,
    names: dict[int, str],
    config: EvaluateConfig,
) -> Measured:
    """Computes the metrics of scored rows and their bootstrap replicates.

    Args:
        user_keys: Users, [rows].
        labels: Clicks, 0 or 1, [rows].
        scores: Predicted click probabilities, [rows].
        weights: Impressions of the log that each row stands for, [rows].
        domains: Domain ids, [rows].
        names: Name of each domain id.
        config: Number of replicates and random seed.
    """
    columns = Columns(user_keys, labels, scores, weights)
    metrics = domain_metrics(domains, user_keys, labels, scores, names, weights)
    replicates = {
        'overall': replicate(columns, config.bootstrap_replicates, config.seed, _ALL_ROWS),
        'domains': {
            name: replicate(
                Columns(*(column[rows] for column in columns)),
                config.bootstrap_replicates,
                config.seed,
                number,
            )
            for name, number, rows in rows_by_domain(domains, names)
        },
    }
    return Measured(metrics, replicates)


def _intervals(samples: dict[str, Any], config: EvaluateConfig) -> dict[str, Any]:
    def intervals(replicates: Replicates) -> dict[str, Any]:
        return {
            name: interval(values, config.confidence_level)
            for name, values in replicates.items()
        }

    return {
        'overall': intervals(samples['overall']),
        'domains': {
            name: intervals(replicates) for name, replicates in samples['domains'].items()
        },
    }


def _differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Subtracts replicate by replicate: both were drawn from the same users."""

    def subtract(first: Replicates, second: Replicates) -> Replicates:
        return {name: first[name] - second[name] for name in first}

    return {
        'overall': subtract(one['overall'], other['overall']),
        'domains': {
            name: subtract(replicates, other['domains'][name])
            for name, replicates in one['domains'].items()
        },
    }


def _deltas(metrics: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    def subtract(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
        return {
            name: None if new[name] is None or old[name] is None else new[name] - old[name]
            for name in RESAMPLED
        }

    return {
        'overall': subtract(metrics['overall'], before['overall']),
        'domains': {
            name: subtract(values, before['domains'][name])
            for name, values in metrics['domains'].items()
        },
    }


def _name(described: dict[str, Any]) -> dict[str, Any]:
    return {
        'model': described.get('model'),
        'framework': described.get('framework'),
        'trained_on': described['dataset']['fingerprint'],
    }

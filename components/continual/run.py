"""Trains, evaluates and pushes an attempt; each of the three can be repeated after a kill."""

import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from beam_jobs.evaluation.config import EvaluateConfig
from components.continual.attempt import THRESHOLDS_JSON, Attempt, plan, train_config
from components.continual.context import ContinualContext
from components.continual.periods import find_period
from components.continual.versions import read_record, write_record
from mdctr import storage
from mdctr.dataset import Dataset
from mdctr.exported_model import MODEL_JSON, model_problem, read_model_json
from mdctr.leases import Lease, lease

if TYPE_CHECKING:
    from trainer.export.push import PushResult

log = logging.getLogger(__name__)


def train_model(context: ContinualContext, model: str, number: int) -> Attempt | str:
    """Trains a model on a period, starting from its newest blessed version.

    A run that was killed resumes from its checkpoint; a finished one is not repeated.

    Args:
        context: The configuration and its workspace.
        model: `source` or a target domain.
        number: Number of the period.

    Returns:
        The attempt, which has been exported; or a sentence that says why there is none.

    Raises:
        UserError: The model that it continues, its source or the dataset do not match.
    """
    dataset = context.current()
    period = find_period(dataset, context.continual, number)
    attempt = plan(context, dataset.manifest, model, period)
    if isinstance(attempt, str):
        log.info('%s', attempt)
        return attempt
    with _attempt_lease(attempt, 'trains'):
        if _is_trained(dataset, attempt):
            log.info('Reusing the model %s, trained on this period already.', attempt.export)
        else:
            _train(context, dataset, attempt)
    return attempt


def evaluate_model(
    context: ContinualContext,
    attempt: Attempt,
    config: EvaluateConfig,
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Evaluates the trained model on the following day, against the served model.

    Args:
        context: The configuration and its workspace.
        attempt: The attempt, which has been exported.
        config: The `evaluate` section.
        beam_args: Ordinary Beam options.

    Returns:
        The content of `metrics.json`.

    Raises:
        UserError: As `beam_jobs.evaluation.evaluate.evaluate`.
    """
    from beam_jobs.evaluation.evaluate import evaluate
    from mdctr.pushed_models import all_versions

    with _attempt_lease(attempt, 'evaluates'):
        existing = _existing_evaluation(attempt, config)
        if existing is not None:
            return existing
        values = evaluate(
            context.dataset,
            attempt.export,
            attempt.evaluation,
            attempt.thresholds(config),
            pushed=all_versions(context.models, attempt.served),
            beam_args=beam_args,
            domains=attempt.domains,
        ).values
        storage.write_json(
            storage.join(attempt.evaluation, THRESHOLDS_JSON), attempt.judged_by(config)
        )
        for name in ('scores', 'baseline_scores'):
            storage.remove_directory(storage.join(attempt.evaluation, name))
        return values


def push_model(context: ContinualContext, attempt: Attempt) -> 'PushResult':
    """Pushes the model if it is blessed and no other was pushed since it was planned.

    Returns:
        The outcome.

    Raises:
        UserError: The model does not reproduce its golden batch, or cannot be written.
    """
    from trainer.export.push import PushResult, push

    newest = context.pushed.newest(attempt.record.model)
    if newest is not None and newest.record == attempt.record:
        return PushResult(
            True,
            newest.number,
            newest.directory,
            f'{attempt.served} version {newest.number} is this model already.',
        )
    return push(
        attempt.export,
        attempt.evaluation,
        context.models,
        attempt.served,
        expected=attempt.expected,
    )


def _is_trained(dataset: Dataset, attempt: Attempt) -> bool:
    """Whether the export is complete, and of the dataset or one that the dataset extends.

    A dataset that was built again is another one, even if its days have the same content.
    """
    if read_record(attempt.export) is None:
        return False
    manifest = dataset.manifest
    trained_on = read_model_json(attempt.export)['dataset']['fingerprint']
    return trained_on in (manifest.fingerprint, *manifest.extends)


def _train(context: ContinualContext, dataset: Dataset, attempt: Attempt) -> None:
    from trainer.export.load import WarmStart
    from trainer.train import train

    record, checkpoints = attempt.record, storage.join(attempt.directory, 'checkpoints')
    _remove_stale_checkpoints(checkpoints, dataset.manifest.fingerprint)
    finished = storage.exists(storage.join(checkpoints, 'finished'))
    problem = model_problem(attempt.export)
    if not finished or problem is not None:
        if storage.exists(storage.join(attempt.export, MODEL_JSON)):
            log.warning(
                'The model %s is damaged (%s): it is trained again.', attempt.export, problem
            )
        storage.remove_directory(attempt.export)
        log.info('Training %s on %s to %s.', attempt.served, record.first_day, record.last_day)
        train(
            dataset,
            attempt.directory,
            train_config(context.continual, record.kind),
            train_split=record.splits,
            validation_split=None,
            domains=attempt.domains,
            warm_start=WarmStart(attempt.parent) if attempt.parent else None,
            source=attempt.source,
        )
    write_record(attempt.export, record)
    storage.remove_directory(checkpoints)  # the export has the same variables


def _remove_stale_checkpoints(checkpoints: str, fingerprint: str) -> None:
    """Removes the checkpoints of an interrupted run on another state of the dataset.

    The vocabularies have grown since, so that it cannot be resumed.
    """
    try:
        run = storage.read_json(storage.join(checkpoints, 'run.json'))
        same = run['dataset'] == fingerprint
    except (FileNotFoundError, ValueError, KeyError):
        same = False
    if not same and storage.exists(checkpoints):
        log.info(
            '%s belong to another state of the dataset; training starts again.', checkpoints
        )
        storage.remove_directory(checkpoints)


def _existing_evaluation(attempt: Attempt, config: EvaluateConfig) -> dict[str, Any] | None:
    """The existing evaluation, if it is of this model against the served one."""
    from mdctr.exported_model import model_digest

    values = attempt.verdict(config)
    same = (
        values is not None
        and values['model']['digest'] == model_digest(attempt.export)
        and (values.get('pushed') or {}).get('directory') == attempt.baseline
    )
    return values if same else None


def _attempt_lease(attempt: Attempt, activity: str) -> contextlib.AbstractContextManager[Lease]:
    return lease(
        attempt.directory + '.attempt',
        f'{activity} {attempt.served} for the period that ends on {attempt.record.last_day}',
        wait=True,
        protects=attempt.directory,
    )

"""Training, judging and pushing one attempt. Each can be done again and does the rest of it."""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from typing import Any

from beam_jobs.atomic import write_text
from beam_jobs.judge_config import EvaluateConfig
from components.continual.attempt import THRESHOLDS_JSON, Attempt, plan, train_config
from components.continual.context import Context
from components.continual.lock import alone
from components.continual.periods import find_period
from components.continual.versions import read_record, write_record

log = logging.getLogger(__name__)


def train_model(context: Context, model: str, number: int) -> Attempt | str:
    """Trains a model on a period, from its newest blessed version.

    A run that was killed goes on from its checkpoint; one that is finished is taken as it is.

    Args:
        context: of the configuration.
        model: `source`, or a target.
        number: of the period.

    Returns:
        The attempt, whose export is there; or the sentence that says why there is none.

    Raises:
        UserError: another run trains it, or its model, its source or its data do not fit.
    """
    attempt = plan(context, context.manifest(),
                   model, find_period(context.dataset, context.continual, number))
    if isinstance(attempt, str):
        log.info('%s', attempt)
        return attempt
    with _alone(attempt, 'trains'):
        if read_record(attempt.export) is None:
            _train(context, attempt)
    return attempt


def evaluate_model(context: Context, attempt: Attempt, config: EvaluateConfig,
                   beam_args: Sequence[str] = ()) -> dict[str, Any]:
    """Judges the trained model by the day after, beside the one that is served.

    Args:
        context: of the configuration.
        attempt: with its export.
        config: the `evaluate` section, of which the thresholds are taken.
        beam_args: ordinary Beam options.

    Returns:
        What `metrics.json` holds.

    Raises:
        UserError: another run is at it, or as `beam_jobs.evaluate.evaluate`.
    """
    from beam_jobs.evaluate import evaluate

    with _alone(attempt, 'judges'):
        judged = _judged(attempt, config)
        if judged is not None:
            return judged
        values = evaluate(
            context.dataset, attempt.export, attempt.evaluation, attempt.thresholds(config),
            baseline=attempt.baseline, beam_args=beam_args, domains=attempt.domains).values
        write_text(os.path.join(attempt.evaluation, THRESHOLDS_JSON),
                   json.dumps(attempt.judged_by(config)))
        for name in ('scores', 'baseline_scores'):
            shutil.rmtree(os.path.join(attempt.evaluation, name), ignore_errors=True)
        return values


def push_model(context: Context, attempt: Attempt):
    """Pushes the model if it is blessed and no other has been pushed since it was trained.

    Returns:
        A `trainer.push.PushResult`.

    Raises:
        UserError: the model does not score its golden batch, or cannot be written.
    """
    from trainer.push import PushResult, push

    newest = context.pushed.newest(attempt.record.model)
    if newest is not None and newest.record == attempt.record:
        return PushResult(True, newest.number, newest.directory,
                          f'{attempt.served} version {newest.number} is this model already.')
    return push(attempt.export, attempt.evaluation, context.models, attempt.served,
                expected=attempt.expected)


def _train(context: Context, attempt: Attempt) -> None:
    from trainer.train import train
    from trainer.trained import Initial

    record, checkpoints = attempt.record, os.path.join(attempt.directory, 'checkpoints')
    finished = os.path.join(checkpoints, 'finished')
    if not os.path.exists(finished) or not os.path.exists(attempt.export):
        _drop_foreign(checkpoints, context.manifest().fingerprint)
        log.info('Training %s on %s to %s.', attempt.served, record.first_day, record.last_day)
        train(context.dataset, attempt.directory, train_config(context.continual, record.kind),
              train_split=record.splits, validation_split=None, domains=attempt.domains,
              initial=attempt.parent and Initial(attempt.parent), source=attempt.source)
    write_record(attempt.export, record)
    shutil.rmtree(checkpoints)  # a day leaves its model, not twice its variables


def _drop_foreign(checkpoints: str, fingerprint: str) -> None:
    """Removes the checkpoints of a run that was cut short and of another state of the dataset.

    Its rows are the same, but the vocabularies have grown: it cannot be gone on with.
    """
    try:
        with open(os.path.join(checkpoints, 'run.json'), encoding='utf-8') as file:
            same = json.load(file)['dataset'] == fingerprint
    except (OSError, ValueError, KeyError):
        same = False
    if not same and os.path.exists(checkpoints):
        log.info('%s are of another state of the dataset: training starts again.', checkpoints)
        shutil.rmtree(checkpoints)


def _judged(attempt: Attempt, config: EvaluateConfig) -> dict[str, Any] | None:
    """The evaluation that is there, if it is of this model beside the one that is served."""
    from beam_jobs.exported import model_digest

    values = attempt.verdict(config)
    same = (values is not None and values['model']['digest'] == model_digest(attempt.export)
            and values.get('baseline', {}).get('directory') == attempt.baseline)
    return values if same else None


def _alone(attempt: Attempt, doing: str) -> contextlib.AbstractContextManager[None]:
    return alone(attempt.directory + '.lock', f'{doing} {attempt.served} for the period that '
                 f'ends on {attempt.record.last_day}')

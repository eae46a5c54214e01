"""The bodies of the continual components."""

import json
from typing import TYPE_CHECKING

from components.artifacts import Location, directory_location, set_metadata, write_location
from components.continual.config import ContinualConfig
from components.continual.context import ContinualContext
from components.step import step
from components.steps import (
    describe_evaluation,
    describe_model,
    describe_push,
    write_artifact,
)
from mdctr import storage
from mdctr.settings import parse

if TYPE_CHECKING:
    from kfp import dsl

_NOTHING = Location('', '')


def find_period_step(
    name: str,
    dataset_config: str,
    config: str,
    evaluate_config: str,
    workspace: str,
    beam_args: list[str],
    history: 'dsl.Markdown',
) -> str:
    """Finds the next period; returns its number as text, or '' if there is none."""
    with step(workspace, history):
        from beam_jobs.config import DatasetConfig
        from beam_jobs.evaluation.config import EvaluateConfig
        from components.continual.extend import next_period
        from components.continual.history import history_markdown

        dataset = parse(
            DatasetConfig, json.loads(dataset_config), 'the parameter dataset_config'
        )
        thresholds = parse(
            EvaluateConfig, json.loads(evaluate_config), 'the parameter evaluate_config'
        )
        context = _context(name, config, workspace)
        notes: list[str] = []
        period = next_period(context, dataset, thresholds, beam_args, notes.append)
        write_artifact(history, history_markdown(context, notes))
    return str(period.number) if period else ''


def train_period_step(
    name: str,
    model_name: str,
    period: str,
    config: str,
    workspace: str,
    model: 'dsl.Model',
    logs: 'dsl.Artifact',
) -> str:
    """Trains a model; returns the attempt as JSON, or '' if there is nothing to train."""
    with step(workspace, model):
        from components.continual.run import train_model

        attempt = (
            train_model(_context(name, config, workspace), model_name, int(period))
            if period
            else 'No period to train on.'
        )
        if isinstance(attempt, str):
            write_location(model, _NOTHING)
            write_location(logs, _NOTHING)
            set_metadata(model, {'not trained': attempt})
            return ''
        describe_model(model, attempt.export)
        record = attempt.record
        set_metadata(
            model,
            {
                'served as': attempt.served,
                'kind': record.kind,
                'first day': record.first_day,
                'last day': record.last_day,
            },
        )
        write_location(logs, directory_location(storage.join(attempt.directory, 'logs')))
        return attempt.to_json()


def evaluate_period_step(
    name: str,
    attempt: str,
    config: str,
    evaluate_config: str,
    workspace: str,
    beam_args: list[str],
    evaluation: 'dsl.Artifact',
    metrics: 'dsl.Metrics',
    report: 'dsl.HTML',
    table: 'dsl.Markdown',
) -> str:
    """Evaluates an attempt; returns it, so that the push comes afterwards."""
    with step(workspace, evaluation):
        from beam_jobs.evaluation.config import EvaluateConfig
        from components.continual.attempt import Attempt
        from components.continual.run import evaluate_model

        if not attempt:
            write_location(evaluation, _NOTHING)
            return ''
        settings = parse(
            EvaluateConfig, json.loads(evaluate_config), 'the parameter evaluate_config'
        )
        context = _context(name, config, workspace)
        trained = Attempt.from_json(attempt, context)
        evaluate_model(context, trained, settings, beam_args)
        describe_evaluation(trained.evaluation, evaluation, metrics, report, table)
        set_metadata(evaluation, {'served as': trained.served})
    return attempt


def push_period_step(
    name: str, attempt: str, config: str, workspace: str, pushed: 'dsl.Model'
) -> str:
    """Pushes a blessed attempt; returns the outcome in one sentence."""
    with step(workspace, pushed):
        from components.continual.attempt import Attempt
        from components.continual.run import push_model

        if not attempt:
            write_location(pushed, _NOTHING)
            return ''
        context = _context(name, config, workspace)
        result = push_model(context, Attempt.from_json(attempt, context))
        describe_push(pushed, result.path, result.version, result.reason)
    print(result.reason)
    return result.reason


def _context(name: str, config: str, workspace: str) -> ContinualContext:
    settings = parse(ContinualConfig, json.loads(config), 'the parameter config')
    return ContinualContext(name, settings, storage.resolve(workspace))

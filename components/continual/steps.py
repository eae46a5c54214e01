"""What the bodies of the continual components call."""

import json
import os
import shutil
from typing import TYPE_CHECKING

from beam_jobs.options import from_mapping
from components.continual.config import ContinualConfig
from components.continual.context import Context
from components.steps import flat, log_metrics, sentences

if TYPE_CHECKING:
    from kfp import dsl


def find_period_step(name: str, dataset_config: str, config: str, evaluate_config: str,
                     workspace: str, beam_args: list[str]) -> str:
    """The next period's number, as text; '' where nothing is to be done."""
    from beam_jobs.config import DatasetConfig
    from beam_jobs.judge_config import EvaluateConfig
    from components.continual.extend import next_period

    with sentences():
        dataset = from_mapping(DatasetConfig, json.loads(dataset_config),
                               'the parameter dataset_config')
        judging = from_mapping(EvaluateConfig, json.loads(evaluate_config),
                               'the parameter evaluate_config')
        period = next_period(_context(name, config, workspace), dataset, judging, beam_args)
    return str(period.number) if period else ''


def train_period_step(name: str, model_name: str, period: str, config: str, workspace: str,
                      model: 'dsl.Model', logs: 'dsl.Artifact') -> str:
    """The attempt of a model, trained, as JSON; '' where there is nothing to train."""
    if not period:
        return ''
    from components.continual.run import train_model

    with sentences():
        attempt = train_model(_context(name, config, workspace), model_name, int(period))
    if isinstance(attempt, str):
        model.metadata['not trained'] = attempt
        return ''
    model.uri, logs.uri = attempt.export, os.path.join(attempt.directory, 'logs')
    with open(os.path.join(attempt.export, 'model.json'), encoding='utf-8') as file:
        described = json.load(file)
    model.metadata.update(flat({key: described[key] for key in (
        'model', 'dataset', 'parameters', 'epoch', 'continual')}))
    return attempt.to_json()


def evaluate_period_step(name: str, attempt: str, config: str, evaluate_config: str,
                         workspace: str, beam_args: list[str], evaluation: 'dsl.Artifact',
                         metrics: 'dsl.Metrics', report: 'dsl.HTML') -> str:
    """Judges an attempt; gives it back for the push to come after."""
    if not attempt:
        return ''
    from beam_jobs.judge_config import EvaluateConfig
    from components.continual.attempt import Attempt
    from components.continual.run import evaluate_model

    with sentences():
        settings = from_mapping(EvaluateConfig, json.loads(evaluate_config),
                                'the parameter evaluate_config')
        made = Attempt.from_json(attempt)
        values = evaluate_model(_context(name, config, workspace), made, settings, beam_args)
    evaluation.uri = made.evaluation
    evaluation.metadata.update({'blessed': values['blessed'], 'reasons': values['reasons']})
    log_metrics(metrics, values)
    os.makedirs(os.path.dirname(report.path), exist_ok=True)
    shutil.copyfile(os.path.join(made.evaluation, 'report.html'), report.path)
    return attempt


def push_period_step(name: str, attempt: str, config: str, workspace: str,
                     pushed: 'dsl.Model') -> str:
    """Pushes a blessed attempt; what came of it in one sentence."""
    if not attempt:
        return ''
    from components.continual.attempt import Attempt
    from components.continual.run import push_model

    with sentences():
        result = push_model(_context(name, config, workspace), Attempt.from_json(attempt))
    pushed.metadata.update({'pushed': result.pushed, 'reason': result.reason})
    if result.pushed:
        pushed.uri = result.path
        pushed.metadata['version'] = result.version
    print(result.reason)
    return result.reason


def _context(name: str, config: str, workspace: str) -> Context:
    settings = from_mapping(ContinualConfig, json.loads(config), 'the parameter config')
    return Context(name, settings, os.path.abspath(workspace))

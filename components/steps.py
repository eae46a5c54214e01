"""What the bodies of the components call: a function of the project, told in artifacts.

A component's body sees none of its module's globals, so the bodies hold one call each and the
work of naming directories and filling in metadata is here, where it can be imported.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from beam_jobs.errors import UserError

if TYPE_CHECKING:
    from kfp import dsl

# Where a step leaves the sentence of its error for the command that started the run.
ERROR_FILE = 'MDCTR_ERROR_FILE'


def quiet_libraries() -> None:
    """Shows this project's progress and warnings, not the libraries' notes to themselves."""
    import logging
    import warnings

    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    warnings.simplefilter('ignore')
    logging.basicConfig(format='%(asctime)s  %(message)s', datefmt='%H:%M:%S',
                        stream=sys.stdout)
    logging.getLogger().setLevel(logging.ERROR)
    for ours in ('beam_jobs', 'trainer', 'components', 'pipeline'):
        logging.getLogger(ours).setLevel(logging.INFO)


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """Ends the step with one sentence where a user's input is at fault, not a traceback."""
    quiet_libraries()
    try:
        yield
    except UserError as error:
        path = os.environ.get(ERROR_FILE)
        if path:
            with open(path, 'w', encoding='utf-8') as file:
                file.write(str(error))
        sys.exit(f'mdctr: {error}')


def cache_directory(workspace: str) -> str:
    """Where fetched raw data is kept."""
    return os.path.join(workspace, 'cache')


def dataset_directory(workspace: str, name: str) -> str:
    """Where the dataset of the configuration `name` is built."""
    return os.path.join(workspace, 'datasets', name)


def models_directory(workspace: str) -> str:
    """The directory above the pushed models' names."""
    return os.path.join(workspace, 'models')


def run_directory(workspace: str, name: str, fingerprint: str, config: Any) -> str:
    """The directory of the training run to begin or to go on with.

    Runs of the same data and settings are numbered. The last one is gone on with unless it
    is finished, so that a killed run continues under its own, stable name and a finished one
    is never overwritten.
    """
    from beam_jobs.options import to_mapping

    settings = json.dumps([fingerprint, to_mapping(config)], sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    parent = os.path.join(workspace, 'training', name)
    number = 1
    while True:
        path = os.path.join(parent, f'{config.model.name}-{config.framework}-{digest}-{number}')
        if not os.path.exists(os.path.join(path, 'export', 'model.json')):
            return path
        number += 1


def preprocess_step(name: str, config: str, workspace: str, beam_args: list[str],
                    dataset: 'dsl.Dataset') -> None:
    """Builds the dataset and describes it in the artifact's metadata."""
    from beam_jobs.build import build_dataset
    from beam_jobs.config import DatasetConfig
    from beam_jobs.options import from_mapping

    with sentences():
        settings = from_mapping(DatasetConfig, json.loads(config), 'the parameter config')
        directory = dataset_directory(workspace, name)
        manifest = build_dataset(settings, name, directory, cache_directory(workspace),
                                 beam_args=beam_args)
    dataset.uri = directory
    dataset.metadata.update({
        'fingerprint': manifest.fingerprint,
        'domains': len(manifest.domains),
        'rows read': manifest.rows.read,
        'rows rejected': manifest.rows.rejected,
        **{f'{split} examples': sum(of.examples.values())
           for split, of in manifest.splits.items()},
        **{f'{split} clicks': sum(of.clicks.values()) for split, of in manifest.splits.items()},
    })


def validate_step(config: str, dataset: 'dsl.Dataset', validation: 'dsl.Artifact',
                  report: 'dsl.HTML') -> None:
    """Validates the dataset; anomalies end the step, after the report is written."""
    from beam_jobs.judge_config import ValidateConfig
    from beam_jobs.options import from_mapping
    from beam_jobs.validate import validate_dataset

    with sentences():
        settings = from_mapping(ValidateConfig, json.loads(config), 'the parameter config')
        found = validate_dataset(dataset.path, validation.path, settings)
        validation.metadata['anomalies'] = found.anomalies
        os.makedirs(os.path.dirname(report.path), exist_ok=True)
        shutil.copyfile(os.path.join(validation.path, 'report.html'), report.path)
        if found.anomalies:
            raise UserError(f'{found.message} The report is {report.path}.')
    print(found.message)


def train_step(name: str, config: str, workspace: str, dataset: 'dsl.Dataset',
               model: 'dsl.Model', logs: 'dsl.Artifact') -> None:
    """Trains, or goes on training, and describes the exported model."""
    from beam_jobs.dataset import read_manifest
    from beam_jobs.options import from_mapping
    from trainer.config import TrainConfig
    from trainer.train import train

    with sentences():
        settings = from_mapping(TrainConfig, json.loads(config), 'the parameter config')
        directory = run_directory(workspace, name, read_manifest(dataset.path).fingerprint,
                                  settings)
        model.uri = train(dataset.path, directory, settings)
    logs.uri = os.path.join(directory, 'logs')
    with open(os.path.join(model.path, 'model.json'), encoding='utf-8') as file:
        described = json.load(file)
    described.pop('structure', None)  # for programs alone
    model.metadata.update(flat(described))


def evaluate_step(name: str, config: str, workspace: str, beam_args: list[str],
                  dataset: 'dsl.Dataset', model: 'dsl.Model', evaluation: 'dsl.Artifact',
                  metrics: 'dsl.Metrics', report: 'dsl.HTML') -> None:
    """Evaluates the model beside the pushed one and logs what a person would look at."""
    from beam_jobs.evaluate import evaluate
    from beam_jobs.judge_config import EvaluateConfig
    from beam_jobs.options import from_mapping
    from trainer.push import latest_version

    with sentences():
        settings = from_mapping(EvaluateConfig, json.loads(config), 'the parameter config')
        result = evaluate(dataset.path, model.path, evaluation.path, settings,
                          baseline=latest_version(models_directory(workspace), name),
                          beam_args=beam_args)
    evaluation.metadata.update({'blessed': result.blessed, 'reasons': result.reasons})
    log_metrics(metrics, result.metrics)
    os.makedirs(os.path.dirname(report.path), exist_ok=True)
    shutil.copyfile(os.path.join(evaluation.path, 'report.html'), report.path)


def push_step(name: str, workspace: str, model: 'dsl.Model', evaluation: 'dsl.Artifact',
              pushed: 'dsl.Model') -> None:
    """Pushes a blessed model; one that is not blessed ends the step well, unpushed."""
    from trainer.push import push

    with sentences():
        result = push(model.path, evaluation.path, models_directory(workspace), name)
    pushed.metadata.update({'pushed': result.pushed, 'reason': result.reason})
    if result.pushed:
        pushed.uri = result.path
        pushed.metadata['version'] = result.version
    print(result.reason)


def log_metrics(metrics: 'dsl.Metrics', values: dict[str, Any]) -> None:
    """Logs the metrics of an evaluation, `overall` and by domain."""
    for domain, of in {'overall': values['overall'], **values['domains']}.items():
        for key in ('impressions', 'ctr', 'auc', 'gauc', 'log_loss', 'pcoc'):
            if of[key] is not None:  # a NaN or null would fail the task
                metrics.log_metric(f'{domain} {key}', of[key])


def flat(values: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested settings as the flat metadata that the user interface shows."""
    found = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found.update(flat(value, f'{prefix}{key}.'))
        elif isinstance(value, (str, int, float, bool)):
            found[f'{prefix}{key}'] = value
        elif value is not None:
            found[f'{prefix}{key}'] = json.dumps(value)
    return found

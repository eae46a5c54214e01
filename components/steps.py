"""The functions that the bodies of the components call.

Each calls a function of `beam_jobs` or `trainer`, and writes the artifacts and their metadata.
The body of a component cannot use the globals of its module, so it only imports and calls one
of these functions.
"""

import json
import logging
import os
from typing import TYPE_CHECKING, Any

from components.artifacts import (
    Location,
    dataset_location,
    directory_location,
    evaluation_location,
    model_location,
    read_dataset,
    read_evaluation,
    read_model,
    set_metadata,
    write_location,
)
from components.metric_artifacts import domain_table, log_metrics
from components.step import step
from mdctr import storage
from mdctr.errors import UserError
from mdctr.exported_model import model_digest
from mdctr.leases import lease
from mdctr.workspace import (
    cache_directory,
    dataset_directory,
    evaluation_directory,
    models_directory,
    validation_directory,
)

if TYPE_CHECKING:
    from kfp import dsl

    from beam_jobs.evaluation.config import EvaluateConfig
    from mdctr.dataset import Dataset
    from mdctr.manifest import Manifest

_MAX_ANOMALIES = 50
log = logging.getLogger(__name__)


def preprocess_step(
    name: str, config: str, workspace: str, beam_args: list[str], dataset: 'dsl.Dataset'
) -> None:
    """Builds the dataset and writes its artifact."""
    with step(workspace, dataset):
        from beam_jobs.build.pipeline import build_dataset
        from beam_jobs.config import DatasetConfig
        from mdctr.settings import parse

        settings = parse(DatasetConfig, json.loads(config), 'the parameter config')
        built = build_dataset(
            settings,
            name,
            dataset_directory(workspace, name),
            cache_directory(workspace),
            beam_args=beam_args,
        )
        write_location(dataset, dataset_location(built.directory))
        describe_dataset(dataset, built.manifest)


def describe_dataset(dataset: 'dsl.Dataset', manifest: 'Manifest') -> None:
    """Sets the metadata of a dataset artifact."""
    splits = manifest.splits.values()
    examples = sum(sum(split.examples.values()) for split in splits)
    clicks = sum(sum(split.clicks.values()) for split in splits)
    set_metadata(
        dataset,
        {
            'name': manifest.name,
            'fingerprint': manifest.fingerprint,
            'first day': min(split.days[0] for split in splits),
            'last day': max(split.days[1] for split in splits),
            'splits': len(manifest.splits),
            'domains': len(manifest.domains),
            'features': len(manifest.features),
            'examples': examples,
            'clicks': clicks,
            'CTR': clicks / examples if examples else None,
            'rows read': manifest.rows.read,
            'rows rejected': manifest.rows.rejected,
        },
    )


def validate_step(
    name: str,
    config: str,
    workspace: str,
    dataset: 'dsl.Dataset',
    validation: 'dsl.Artifact',
    report: 'dsl.HTML',
) -> None:
    """Validates the dataset; anomalies end the step after the report has been written.

    Kubeflow does not show the artifacts of a failed step, so the anomalies are also printed.
    """
    with step(workspace, validation):
        from beam_jobs.validation.config import DataValidationConfig
        from beam_jobs.validation.validate import validate_dataset
        from mdctr.dataset import open_dataset
        from mdctr.settings import parse

        settings = parse(DataValidationConfig, json.loads(config), 'the parameter config')
        opened = open_dataset(read_dataset(dataset))
        fingerprint = opened.manifest.fingerprint
        directory = validation_directory(workspace, name, fingerprint, settings)
        result = validate_dataset(opened, directory, settings)
        report_path = storage.join(directory, 'report.html')
        copy_file(report_path, report)
        write_location(validation, directory_location(directory))
        set_metadata(
            validation,
            {
                'anomalies': len(result.anomalies),
                'warnings': len(result.warnings),
                'outcome': result.message,
            },
        )
        if result.anomalies:
            for sentence in result.anomalies[:_MAX_ANOMALIES]:
                print(f'- {sentence}')
            raise UserError(f'{result.message} The report is {report_path}.')
    print(result.message)


def train_step(
    name: str,
    config: str,
    workspace: str,
    again: bool,
    dataset: 'dsl.Dataset',
    model: 'dsl.Model',
    logs: 'dsl.Artifact',
) -> None:
    """Trains a model, or reuses one, and writes its artifacts."""
    with step(workspace, model):
        from mdctr.dataset import open_dataset
        from mdctr.settings import parse
        from trainer.config import TrainConfig
        from trainer.workspace_run import train_in_workspace

        settings = parse(TrainConfig, json.loads(config), 'the parameter config')
        examples = open_dataset(read_dataset(dataset))
        export = train_in_workspace(examples, workspace, name, settings, again=again)
        describe_model(model, export)
        run = storage.parent(export)
        write_location(logs, directory_location(storage.join(run, 'logs')))


def describe_model(model: 'dsl.Model', directory: str) -> None:
    """Writes the artifact of an exported model and sets its metadata."""
    from mdctr.exported_model import read_model_json

    described = read_model_json(directory)
    config, metrics = described['config'], described['validation'].get('overall', {})
    write_location(model, model_location(directory))
    set_metadata(
        model,
        {
            'model': described['model'],
            'framework': described['framework'],
            'dataset': described['dataset']['name'],
            'dataset fingerprint': described['dataset']['fingerprint'],
            'domains': len(described['domains']),
            'features': len(described['features']),
            'parameters': described['parameters'],
            'epoch': described['epoch'],
            'optimizer': config['optimizer'],
            'learning rate': config['learning_rate'],
            'batch size': config['batch_size'],
            'seed': config['seed'],
            **{
                f'validation {title}': metrics.get(key)
                for key, title in (
                    ('auc', 'AUC'),
                    ('gauc', 'GAUC'),
                    ('log_loss', 'log loss'),
                    ('pcoc', 'PCOC'),
                )
            },
        },
    )


def evaluate_step(
    name: str,
    config: str,
    workspace: str,
    beam_args: list[str],
    dataset: 'dsl.Dataset',
    model: 'dsl.Model',
    evaluation: 'dsl.Artifact',
    metrics: 'dsl.Metrics',
    report: 'dsl.HTML',
    table: 'dsl.Markdown',
) -> None:
    """Evaluates the model against the pushed one, or reuses an evaluation."""
    with step(workspace, evaluation):
        from beam_jobs.evaluation.config import EvaluateConfig
        from mdctr.dataset import open_dataset
        from mdctr.settings import parse

        settings = parse(EvaluateConfig, json.loads(config), 'the parameter config')
        directory = _evaluate(
            open_dataset(read_dataset(dataset)),
            read_model(model),
            models_directory(workspace),
            name,
            settings,
            beam_args,
        )
        describe_evaluation(directory, evaluation, metrics, report, table)


def _evaluate(
    dataset: 'Dataset',
    model: str,
    models: str,
    name: str,
    config: 'EvaluateConfig',
    beam_args: list[str],
) -> str:
    """Evaluates a model unless that has been done; returns the directory of the evaluation.

    A model that is served already is not compared with itself if it was evaluated before it was
    pushed.
    """
    from beam_jobs.evaluation.evaluate import evaluate
    from mdctr.pushed_models import all_versions, complete_versions

    digest = model_digest(model)
    pushed = [model_digest(version) for version in complete_versions(models, name)]
    others = [each for each in dict.fromkeys(pushed) if each != digest]
    fingerprint = dataset.manifest.fingerprint
    directory = evaluation_directory(model, fingerprint, config, others)

    def is_evaluated() -> bool:
        try:
            values = storage.read_json(storage.join(directory, 'metrics.json'))
        except (FileNotFoundError, ValueError):
            return False
        compared = (values['pushed'] or {}).get('digest')
        served = pushed[0] if pushed else None
        return served in (compared, digest)

    if is_evaluated():
        log.info('Reusing the evaluation %s.', directory)
        return directory
    activity = f'evaluates {storage.name(storage.parent(model))}'
    with lease(directory + '.lease', activity, wait=True, protects=directory):
        if not is_evaluated():
            evaluate(dataset, model, directory, config, all_versions(models, name), beam_args)
    return directory


def describe_evaluation(
    directory: str,
    evaluation: 'dsl.Artifact',
    metrics: 'dsl.Metrics',
    report: 'dsl.HTML',
    table: 'dsl.Markdown',
) -> None:
    """Writes the artifacts of an evaluation."""
    values: dict[str, Any] = storage.read_json(storage.join(directory, 'metrics.json'))
    failed = [check['reason'] for check in values['checks'] if not check['passed']]
    write_location(evaluation, evaluation_location(directory))
    set_metadata(
        evaluation,
        {
            'blessed': values['blessed'],
            'reasons': '; '.join(failed or values['reasons']),
            'checks': len(values['checks']),
            'checks failed': len(failed),
            'split': values['split'],
            'model': values['model']['model'],
            'dataset': values['dataset']['name'],
            'domains': len(values['domains']),
            'compared with': values.get('baseline', {}).get('directory'),
        },
    )
    log_metrics(metrics, values)
    copy_file(storage.join(directory, 'report.html'), report)
    write_artifact(table, domain_table(values))


def push_step(
    name: str,
    workspace: str,
    model: 'dsl.Model',
    evaluation: 'dsl.Artifact',
    pushed: 'dsl.Model',
) -> None:
    """Pushes the model if it is blessed; otherwise the step succeeds without a push."""
    with step(workspace, pushed):
        from trainer.export.push import push

        result = push(
            read_model(model), read_evaluation(evaluation), models_directory(workspace), name
        )
        describe_push(pushed, result.path, result.version, result.reason)
    print(result.reason)


def describe_push(
    pushed: 'dsl.Model', path: str | None, version: int | None, reason: str
) -> None:
    """Writes the artifact of a push: the version, the decision and its reason."""
    write_location(pushed, model_location(path) if path else Location('', ''))
    set_metadata(pushed, {'pushed': path is not None, 'version': version, 'reason': reason})


def write_artifact(artifact: 'dsl.Artifact', text: str) -> None:
    """Writes the content of an artifact that the user interface shows."""
    os.makedirs(os.path.dirname(artifact.path), exist_ok=True)
    with open(artifact.path, 'w', encoding='utf-8') as file:
        file.write(text)


def copy_file(path: str, artifact: 'dsl.Artifact') -> None:
    """Copies a file of the workspace to the path of an artifact."""
    os.makedirs(os.path.dirname(artifact.path), exist_ok=True)
    with open(artifact.path, 'wb') as file:
        file.write(storage.read_bytes(path))

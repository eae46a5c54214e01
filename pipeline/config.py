"""Configurations: one YAML file describes a whole pipeline run."""

import importlib.resources
import os
import re
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from beam_jobs.config import DatasetConfig
from beam_jobs.evaluation.config import EvaluateConfig
from beam_jobs.validation.config import DataValidationConfig
from components.continual.config import ContinualConfig, check_dataset
from mdctr.errors import UserError
from mdctr.key_path import KeyPath
from mdctr.settings import Settings, parse
from mdctr.yaml_reader import read_yaml, read_yaml_value
from trainer.config import TrainConfig


def _check_name(name: str) -> str:
    if not re.fullmatch(r'[\w-]+', name):
        raise ValueError(f"{name!r} may contain only letters, digits, '-' and '_'.")
    return name


Name = Annotated[
    str, AfterValidator(_check_name), Field(json_schema_extra={'pattern': r'^[\w-]+$'})
]


class ClusterConfig(Settings):
    """Resources of the pipeline on a cluster; a local run ignores them."""

    image: str = Field(
        default='mdctr/python-pipeline:0.1.0',
        description='Image of every component (k8s/Dockerfile).',
    )
    volume_claim: str = Field(
        default='mdctr-workspace',
        description='Persistent volume claim of the workspace, mounted in every step.',
    )
    mount_path: str = Field(default='/mnt/mdctr', description='Mount path of the volume claim.')
    gpu_resource: str = Field(
        default='nvidia.com/gpu',
        description='Kubernetes resource that training requests.',
    )
    gpus: int = Field(default=1, ge=0, description='Amount of `gpu_resource`.')
    train_cpu: str = Field(default='4', description='CPU request of training.')
    train_memory: str = Field(default='16G', description='Memory request of training.')
    tolerations: list[str] = Field(
        default=['nvidia.com/gpu'],
        description='Keys of the taints that training tolerates (operator Exists, effect '
        'NoSchedule).',
    )
    node_selector: dict[str, str] = Field(
        default_factory=dict, description='Labels of the nodes that training runs on.'
    )
    beam_args: list[str] = Field(
        default_factory=list,
        description='Beam options of the Beam jobs, for example `--runner=FlinkRunner`.',
    )
    secrets: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description='Kubernetes secrets that every step receives as environment variables: for '
        'each secret, the variable of each of its keys, for example `{object-store: '
        '{access-key: AWS_ACCESS_KEY_ID}}`.',
    )
    retries: int = Field(
        default=3,
        ge=0,
        description='Maximum number of restarts of a step whose pod failed or was evicted.',
    )


class RunConfig(Settings):
    """Configuration of a pipeline run, the content of a configuration file."""

    name: Name = Field(
        description='Name of the dataset, of the training runs and of the pushed model: '
        'letters, digits, `-` and `_`.',
    )
    dataset: DatasetConfig = Field(description='Raw log and dataset.')
    data_validation: DataValidationConfig = Field(
        default_factory=DataValidationConfig, description='Validation of the dataset.'
    )
    train: TrainConfig = Field(default_factory=TrainConfig, description='Training.')
    evaluate: EvaluateConfig = Field(
        default_factory=EvaluateConfig, description='Evaluation and blessing.'
    )
    cluster: ClusterConfig = Field(
        default_factory=ClusterConfig, description='Resources on a cluster.'
    )
    continual: ContinualConfig | None = Field(
        default=None,
        description='Continual training (CTNet 3.3): if present, the pipeline trains period by '
        'period, with the settings of this section instead of `train`.',
    )

    @model_validator(mode='after')
    def _check_continual(self) -> Self:
        if self.continual is not None:
            check_dataset(self.dataset, self.continual)
            if not self.evaluate.has_thresholds:
                raise ValueError(
                    'continual needs a threshold in the section evaluate, for example '
                    'max_gauc_drop: without one no model is blessed.'
                )
        return self


def built_in_names() -> list[str]:
    """The names of the built-in configurations."""
    folder = importlib.resources.files('pipeline') / 'configs'
    return sorted(
        entry.name.removesuffix('.yaml')
        for entry in folder.iterdir()
        if entry.name.endswith('.yaml')
    )


def load_config(
    source: str, overrides: Sequence[str] = (), *, check_components: bool = False
) -> RunConfig:
    """Reads and checks a configuration.

    Args:
        source: Path of a YAML file, or name of a built-in configuration.
        overrides: `key=value` strings with dotted keys, such as `train.model.name=mlp`; values
            are YAML.
        check_components: Whether to check the reader, models, frameworks and optimizers and
            their options, too. This imports their modules, including TensorFlow and modules of
            the user.

    Raises:
        UserError: There is no such configuration, it is not YAML, a key or value is invalid, or
            a component cannot be used.
    """
    document = read_yaml(_read(source), source)
    values = document.values
    if not isinstance(values, dict):
        raise UserError(f'{source}: a configuration must be a mapping of keys to values.')
    origins = {path: f'{source}:{line}' for path, line in document.lines.items()}
    for override in overrides:
        path = _override(values, override)
        origins = {key: where for key, where in origins.items() if key[: len(path)] != path}
        origins[path] = f'--set {override}'
    config = parse(RunConfig, values, source, origins)
    if check_components:
        from pipeline.component_checks import check_components as check

        check(config, source, origins)
    return config


def _read(source: str) -> str:
    if os.path.exists(source) and not os.path.isdir(source):
        try:
            with open(source, encoding='utf-8') as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f'{source} cannot be read as UTF-8 text: {error}.') from None
    if source in built_in_names():
        path = importlib.resources.files('pipeline') / 'configs' / f'{source}.yaml'
        return path.read_text(encoding='utf-8')
    raise UserError(
        f'{source} is neither a file nor a built-in configuration; built in are: '
        f'{", ".join(built_in_names())}.'
    )


def _override(values: dict[str, Any], override: str) -> KeyPath:
    """Applies a change to the values of a configuration; returns its path."""
    key, equals, text = override.partition('=')
    if not equals or not key:
        raise UserError(f'--set {override}: write it as key=value, e.g. train.epochs=3.')
    *parents, last = key.split('.')
    for parent in parents:
        nested = values.get(parent)
        if nested is None:
            nested = values[parent] = {}
        if not isinstance(nested, dict):
            raise UserError(f'--set {override}: {parent} is not a section.')
        values = nested
    try:
        values[last] = read_yaml_value(text, '--set')
    except UserError:
        raise UserError(f'--set {override}: {text!r} is not a YAML value.') from None
    return (*parents, last)

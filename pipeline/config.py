"""Configurations: one YAML file says everything about a pipeline run."""

import importlib.resources
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beam_jobs.config import DatasetConfig
from beam_jobs.errors import UserError
from beam_jobs.judge_config import EvaluateConfig, ValidateConfig
from beam_jobs.options import from_mapping, setting
from components.continual.config import ContinualConfig, check_dataset
from trainer.config import TrainConfig


@dataclass(frozen=True)
class ClusterConfig:
    """What the pipeline asks of a cluster; a local run ignores it.

    Attributes:
        image: that every component runs in (k8s/Dockerfile).
        volume_claim: the claim that holds the workspace, mounted in every step.
        mount_path: where it is mounted.
        gpu_resource: the Kubernetes resource that training asks for, verbatim.
        gpus: how many of it.
        train_cpu, train_memory: what training requests.
        tolerations: taint keys that training tolerates (operator Exists, effect NoSchedule).
        node_selector: labels of the nodes that training runs on.
        beam_args: the ordinary Beam options of the Beam jobs on the cluster, e.g.
            `--runner=FlinkRunner`.
    """

    image: str = 'mdctr/python-pipeline:0.1.0'
    volume_claim: str = 'mdctr-workspace'
    mount_path: str = '/mnt/mdctr'
    gpu_resource: str = 'nvidia.com/gpu'
    gpus: int = setting(1, minimum=0)
    train_cpu: str = '4'
    train_memory: str = '16G'
    tolerations: list[str] = field(default_factory=lambda: ['nvidia.com/gpu'])
    node_selector: dict[str, str] = field(default_factory=dict)
    beam_args: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RunConfig:
    """A whole configuration file, section by section.

    Attributes:
        name: names the dataset, the training runs and the pushed model.
        dataset, validate, train, evaluate, cluster: the sections.
        continual: with it, the pipeline is the continual one (CTNet 3.3): it trains period
            after period, with its own settings in the place of `train`.
    """

    name: str
    dataset: DatasetConfig
    validate: ValidateConfig = field(default_factory=ValidateConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    continual: ContinualConfig | None = None

    def __post_init__(self):
        if not self.name or not all(c.isalnum() or c in '-_' for c in self.name):
            raise ValueError(f'name: {self.name!r} may hold letters, digits, - and _ alone.')
        if self.continual is not None:
            check_dataset(self.dataset, self.continual)
            if not self.evaluate.has_thresholds:
                raise ValueError('continual needs a threshold in the section evaluate, for '
                                 'example max_gauc_drop: without one no model is blessed.')


def built_in_names() -> list[str]:
    """The configurations that come with the project."""
    folder = importlib.resources.files('pipeline') / 'configs'
    return sorted(entry.name.removesuffix('.yaml') for entry in folder.iterdir()
                  if entry.name.endswith('.yaml'))


def load_config(source: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads and checks a configuration.

    Args:
        source: the path of a YAML file, or the name of a built-in configuration.
        overrides: `key=value` strings with dotted keys, e.g. `train.model.name=mlp`; values
            are read as YAML.

    Raises:
        UserError: no such configuration, text that is not YAML, or a wrong key or value.
    """
    values = _read(source)
    if not isinstance(values, dict):
        raise UserError(f'{source}: a configuration is a mapping of keys to values.')
    for override in overrides:
        _override(values, override)
    return from_mapping(RunConfig, values, source)


def _read(source: str) -> Any:
    import yaml

    if os.path.exists(source) and not os.path.isdir(source):
        with open(source, encoding='utf-8') as file:
            text = file.read()
    elif source in built_in_names():
        text = (importlib.resources.files('pipeline') / 'configs'
                / f'{source}.yaml').read_text(encoding='utf-8')
    else:
        raise UserError(f'{source} is neither a file nor a built-in configuration; built in '
                        f'are: {", ".join(built_in_names())}.')
    try:
        return yaml.load(text, Loader=_loader())
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        line = f' line {mark.line + 1}:' if mark else ''
        raise UserError(f'{source}:{line} not YAML '
                        f'({getattr(error, "problem", None) or error}).') from None


def _loader() -> type:
    """YAML without dates: a day stays the text that it is written as."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers
                if tag != 'tag:yaml.org,2002:timestamp']
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    return Loader


def _override(values: dict, override: str) -> None:
    import yaml

    key, equals, text = override.partition('=')
    if not equals or not key:
        raise UserError(f'--set {override}: write it as key=value, e.g. train.epochs=3.')
    *parents, last = key.split('.')
    for parent in parents:
        nested = values.get(parent)
        if nested is None:
            nested = values[parent] = {}
        if not isinstance(nested, Mapping):
            raise UserError(f'--set {override}: {parent} is not a section.')
        values = nested
    try:
        values[last] = yaml.load(text, Loader=_loader())
    except yaml.YAMLError:
        raise UserError(f'--set {override}: {text!r} is not a YAML value.') from None

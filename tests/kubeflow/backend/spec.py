"""The compiled pipeline as KFP's API server receives it."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import yaml


@dataclasses.dataclass(frozen=True)
class CompiledPipeline:
    """The two documents of the YAML file that KFP's compiler writes.

    Attributes:
        spec: The pipeline spec.
        kubernetes: The Kubernetes settings of each executor, by its label.
    """

    spec: dict[str, Any]
    kubernetes: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.spec['pipelineInfo']['name']

    def component(self, task: dict[str, Any]) -> dict[str, Any]:
        """The component of a task."""
        return self.spec['components'][task['componentRef']['name']]

    def executor(self, component: dict[str, Any]) -> dict[str, Any]:
        """The executor of a component that is not a DAG."""
        return self.spec['deploymentSpec']['executors'][component['executorLabel']]


def read_pipeline(path: pathlib.Path) -> CompiledPipeline:
    """Reads a compiled pipeline.

    Raises:
        ValueError: The pipeline uses a part of KFP that this backend does not cover.
    """
    documents = list(yaml.safe_load_all(path.read_text(encoding='utf-8')))
    spec = documents[0]
    platforms = documents[1]['platforms'] if len(documents) > 1 else {}
    kubernetes = platforms.get('kubernetes', {}).get('deploymentSpec', {}).get('executors', {})
    dags = [
        spec['root']['dag'],
        *(component['dag'] for component in spec['components'].values() if 'dag' in component),
    ]
    for dag in dags:
        for name, task in dag['tasks'].items():
            if {'parameterIterator', 'artifactIterator'} & task.keys():
                raise ValueError(f'the task {name} is a loop')
            if 'strategy' in task.get('triggerPolicy', {}):
                raise ValueError(f'the task {name} is an exit handler')
            component = spec['components'][task['componentRef']['name']]
            executor = spec['deploymentSpec']['executors'].get(component.get('executorLabel'))
            if 'container' in (executor or {}) and task.get('cachingOptions', {}).get(
                'enableCache'
            ):
                raise ValueError(f'the task {name} is cached')
    return CompiledPipeline(spec, kubernetes)

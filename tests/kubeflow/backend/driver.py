"""What KFP's driver does before a task: resolves its inputs and provides its outputs."""

from __future__ import annotations

import dataclasses
import json
import uuid
from typing import Any

from tests.kubeflow.backend.artifact_store import LauncherError, local_path
from tests.kubeflow.backend.metadata import Artifact

_TYPES: dict[str, tuple[type, ...]] = {
    'NUMBER_INTEGER': (int, float),
    'NUMBER_DOUBLE': (int, float),
    'BOOLEAN': (bool,),
    'LIST': (list,),
    'STRUCT': (dict,),
}


@dataclasses.dataclass
class Values:
    """The parameters and artifacts that go into, or come out of, a task or DAG."""

    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    artifacts: dict[str, list[Artifact]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Run:
    """What the driver knows of the run.

    Attributes:
        pipeline: The pipeline's name.
        id: The run's id.
        root: The URI below which its artifacts go.
    """

    pipeline: str
    id: str
    root: str


def root_inputs(component: dict[str, Any], given: dict[str, Any]) -> Values:
    """The inputs of the whole pipeline.

    Args:
        component: The root component.
        given: The parameters that the run was started with.

    Raises:
        LauncherError: A parameter without a default was not given, or an unknown one was.
    """
    declared = component.get('inputDefinitions', {}).get('parameters', {})
    unknown = given.keys() - declared.keys()
    if unknown:
        raise LauncherError(f'the pipeline has no input parameter {sorted(unknown)[0]}')
    values = Values()
    for name, definition in declared.items():
        if name in given:
            values.parameters[name] = given[name]
        elif 'defaultValue' in definition:
            values.parameters[name] = definition['defaultValue']
        elif definition.get('isOptional'):
            values.parameters[name] = None
        else:
            raise LauncherError(f'no value for the input parameter {name}')
    _check_types(component, values)
    return values


def task_inputs(
    task: dict[str, Any],
    component: dict[str, Any],
    parent: Values,
    outputs: dict[str, Values],
    run: Run,
    name: str,
) -> Values:
    """The inputs of a task.

    Args:
        task: Its spec.
        component: Its component.
        parent: The inputs of the DAG that the task is in.
        outputs: The outputs of the DAG's tasks that have ended, by name.
        run: The run.
        name: The task's name.

    Raises:
        LauncherError: An input cannot be resolved, or has another type than declared.
    """
    values = Values()
    declared = component.get('inputDefinitions', {}).get('parameters', {})
    for key, spec in task.get('inputs', {}).get('parameters', {}).items():
        value = _parameter(key, spec, parent, outputs, run, name)
        if value is None and declared.get(key, {}).get('isOptional'):
            continue
        if value is None:
            raise LauncherError(f'the resolved input parameter is null: {key}')
        values.parameters[key] = value
    if 'dag' in component:
        for key, definition in declared.items():
            if key not in values.parameters and definition.get('isOptional'):
                values.parameters[key] = definition.get('defaultValue')
    for key, spec in task.get('inputs', {}).get('artifacts', {}).items():
        values.artifacts[key] = _artifacts(key, spec, parent, outputs)
    _check_types(component, values)
    return values


def executor_input(
    component: dict[str, Any], inputs: Values, run: Run, task: str
) -> dict[str, Any]:
    """The input of a task's program; its outputs' URIs are the same for every attempt."""
    root = f'{run.root}/{run.pipeline}/{run.id}/{task}/{uuid.uuid4()}'
    definitions = component.get('outputDefinitions', {})
    return {
        'inputs': {
            'parameterValues': dict(inputs.parameters),
            'artifacts': {
                name: {'artifacts': [one.as_input() for one in several]}
                for name, several in inputs.artifacts.items()
            },
        },
        'outputs': {
            'artifacts': {
                name: {
                    'artifacts': [
                        {
                            'name': name,
                            'type': definition['artifactType'],
                            'uri': f'{root}/{name}',
                            'metadata': definition.get('metadata', {}),
                        }
                    ]
                }
                for name, definition in definitions.get('artifacts', {}).items()
            },
            'parameters': {
                name: {'outputFile': f'/tmp/kfp/outputs/{name}'}
                for name in definitions.get('parameters', {})
            },
            'outputFile': f'{local_path(root)}/output_metadata.json',
        },
    }


def dag_outputs(dag: dict[str, Any], outputs: dict[str, Values]) -> Values:
    """The outputs of a DAG, from those of its tasks; what a skipped task had is missing."""
    values = Values()
    definitions = dag.get('outputs', {})
    for name, definition in definitions.get('parameters', {}).items():
        selectors = (
            [definition['valueFromParameter']]
            if 'valueFromParameter' in definition
            else definition['valueFromOneof']['parameterSelectors']
        )
        for selector in selectors:
            found = outputs.get(selector['producerSubtask'])
            if found and selector['outputParameterKey'] in found.parameters:
                values.parameters[name] = found.parameters[selector['outputParameterKey']]
                break
    for name, definition in definitions.get('artifacts', {}).items():
        for selector in definition['artifactSelectors']:
            found = outputs.get(selector['producerSubtask'])
            if found and selector['outputArtifactKey'] in found.artifacts:
                values.artifacts[name] = found.artifacts[selector['outputArtifactKey']]
                break
    return values


def _parameter(
    name: str,
    spec: dict[str, Any],
    parent: Values,
    outputs: dict[str, Values],
    run: Run,
    task: str,
) -> Any:
    if 'componentInputParameter' in spec:
        key = spec['componentInputParameter']
        if key not in parent.parameters:
            raise LauncherError(f'parent DAG does not have input parameter {key}')
        return parent.parameters[key]
    if 'taskOutputParameter' in spec:
        source = spec['taskOutputParameter']
        found = outputs.get(source['producerTask'])
        if found is None or source['outputParameterKey'] not in found.parameters:
            raise LauncherError(
                f'{name}: producer task, {source["producerTask"]}, not in tasks'
            )
        return found.parameters[source['outputParameterKey']]
    constant = spec['runtimeValue']['constant']
    if isinstance(constant, str):
        known = {
            '{{$.pipeline_job_uuid}}': run.id,
            '{{$.pipeline_task_name}}': task,
            '{{$.pipeline_job_name}}': run.pipeline,
        }
        return known.get(constant, constant)
    return constant


def _artifacts(
    name: str, spec: dict[str, Any], parent: Values, outputs: dict[str, Values]
) -> list[Artifact]:
    if 'componentInputArtifact' in spec:
        key = spec['componentInputArtifact']
        if key not in parent.artifacts:
            raise LauncherError(f'parent DAG does not have input artifact {key}')
        return parent.artifacts[key]
    source = spec['taskOutputArtifact']
    found = outputs.get(source['producerTask'])
    if found is None or source['outputArtifactKey'] not in found.artifacts:
        raise LauncherError(
            f'{name}: cannot find output artifact key '
            f'{source["outputArtifactKey"]} in {source["producerTask"]}'
        )
    return found.artifacts[source['outputArtifactKey']]


def _check_types(component: dict[str, Any], values: Values) -> None:
    for name, definition in component.get('inputDefinitions', {}).get('parameters', {}).items():
        kind = definition['parameterType']
        value = values.parameters.get(name)
        if name not in values.parameters:
            if not definition.get('isOptional') and 'defaultValue' not in definition:
                raise LauncherError(
                    'neither value nor default value provided for non-optional '
                    f'parameter {name!r}'
                )
        elif value is None:
            continue
        elif kind == 'STRING':
            if not isinstance(value, str):
                values.parameters[name] = json.dumps(value)
        elif type(value) not in _TYPES.get(kind, ()):
            raise LauncherError(
                f'input parameter {name!r} type mismatch: expect {kind}, got '
                f'{type(value).__name__}'
            )

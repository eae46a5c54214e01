"""Runs a compiled pipeline task by task: order, conditions, retries, nested DAGs."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time
import uuid
from collections.abc import Callable
from typing import Any

from tests.kubeflow.backend import driver, metadata
from tests.kubeflow.backend.artifact_store import ArtifactStore, LauncherError
from tests.kubeflow.backend.driver import Run, Values
from tests.kubeflow.backend.expressions import evaluate_condition
from tests.kubeflow.backend.launcher import Pod, Watcher, launch
from tests.kubeflow.backend.sandbox import Sandbox
from tests.kubeflow.backend.spec import CompiledPipeline

# Makes the watcher of an attempt (numbered from 0) at a task; None lets it run.
Disturbance = Callable[[str, int], Watcher | None]


@dataclasses.dataclass
class Task:
    """What became of a task.

    Attributes:
        state: `succeeded`, `failed`, `skipped` (its condition was false) or `omitted` (a task
            that it depends on did not succeed).
        inputs: Its executor input's size in bytes; 0 for a DAG.
        outputs: Its parameters and artifacts.
        attempts: The error of each attempt; an empty text for the one that succeeded.
        waits: Seconds of backoff before each attempt after the first.
        log: What the last attempt printed.
        seconds: How long all attempts took.
    """

    state: str
    inputs: int = 0
    outputs: Values = dataclasses.field(default_factory=Values)
    attempts: list[str] = dataclasses.field(default_factory=list)
    waits: list[float] = dataclasses.field(default_factory=list)
    log: str = ''
    seconds: float = 0.0

    @property
    def error(self) -> str:
        """The error of the last attempt."""
        return self.attempts[-1] if self.attempts else ''


@dataclasses.dataclass
class Backend:
    """A cluster to run pipelines on.

    Attributes:
        store: The artifact store.
        directory: Gets a directory for each pod.
        claims: By name of a volume claim, the directory that stands for the volume.
        secrets: By name of a Kubernetes secret, its values by key.
        sandbox: Starts the steps.
        disturbance: Ends attempts before their time.
        argo_index: Whether a retried pod is told its number, as since KFP 2.17.
    """

    store: ArtifactStore
    directory: pathlib.Path
    claims: dict[str, pathlib.Path]
    secrets: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    sandbox: Sandbox = dataclasses.field(default_factory=Sandbox)
    disturbance: Disturbance | None = None
    argo_index: bool = True

    def run(self, pipeline: CompiledPipeline, **parameters: Any) -> dict[str, Task]:
        """Runs a pipeline until it ends.

        Args:
            pipeline: The compiled pipeline.
            **parameters: Values in the place of its parameters' defaults.

        Returns:
            Each task by its name, the tasks of a nested DAG by `dag/task`. After a task that
            failed no other is started.

        Raises:
            LauncherError: The pipeline cannot be started with these parameters.
        """
        run = Run(pipeline.name, str(uuid.uuid4()), self.store.root)
        root = pipeline.spec['root']
        tasks: dict[str, Task] = {}
        _Execution(self, pipeline, run, tasks).dag(
            root['dag'], driver.root_inputs(root, parameters), ''
        )
        return tasks


@dataclasses.dataclass
class _Execution:
    backend: Backend
    pipeline: CompiledPipeline
    run: Run
    tasks: dict[str, Task]
    failed: bool = False

    def dag(self, dag: dict[str, Any], inputs: Values, prefix: str) -> Values:
        """Runs the tasks of a DAG, each after those that it depends on."""
        waiting, ended = dict(dag['tasks']), {}
        while waiting:
            ready = [
                name for name, task in waiting.items() if _dependencies(task) <= ended.keys()
            ]
            if not ready:
                raise LauncherError(f'the tasks {sorted(waiting)} depend on each other')
            for name in ready:
                spec = waiting.pop(name)
                succeeded = all(
                    ended[other].state == 'succeeded' for other in _dependencies(spec)
                )
                if self.failed or not succeeded:
                    ended[name] = self.tasks[prefix + name] = Task('omitted')
                    continue
                outputs = {
                    other: task.outputs
                    for other, task in ended.items()
                    if task.state == 'succeeded'
                }
                ended[name] = self._task(name, spec, inputs, outputs, prefix)
        return driver.dag_outputs(
            dag,
            {name: task.outputs for name, task in ended.items() if task.state == 'succeeded'},
        )

    def _task(
        self,
        name: str,
        spec: dict[str, Any],
        parent: Values,
        outputs: dict[str, Values],
        prefix: str,
    ) -> Task:
        task = self.tasks[prefix + name] = Task('failed')
        begun = time.monotonic()
        try:
            component = self.pipeline.component(spec)
            inputs = driver.task_inputs(spec, component, parent, outputs, self.run, name)
            condition = spec.get('triggerPolicy', {}).get('condition')
            if condition and not evaluate_condition(condition, inputs.parameters):
                task.state = 'skipped'
                return task
            if 'dag' in component:
                task.outputs = self.dag(component['dag'], inputs, f'{prefix}{name}/')
                task.state = 'failed' if self.failed else 'succeeded'
                return task
            executor = self.pipeline.executor(component)
            if 'importer' in executor:
                task.outputs = self._import(executor['importer'], component, inputs)
                task.state = 'succeeded'
            else:
                self._container(
                    task, spec, component, executor['container'], inputs, prefix + name
                )
        except (LauncherError, ValueError) as error:
            task.attempts.append(str(error))
        finally:
            task.seconds = time.monotonic() - begun
        self.failed = self.failed or task.state == 'failed'
        return task

    def _import(
        self, importer: dict[str, Any], component: dict[str, Any], inputs: Values
    ) -> Values:
        """Records an artifact that is there already."""
        uri = importer['artifactUri']
        address = (
            uri['constant'] if 'constant' in uri else inputs.parameters[uri['runtimeParameter']]
        )
        self.backend.store.check(address)
        (name,) = component['outputDefinitions']['artifacts']
        return Values(
            artifacts={
                name: [
                    metadata.record(
                        name, importer['typeSchema'], address, importer.get('metadata', {})
                    )
                ]
            }
        )

    def _container(
        self,
        task: Task,
        spec: dict[str, Any],
        component: dict[str, Any],
        container: dict[str, Any],
        inputs: Values,
        name: str,
    ) -> None:
        """Attempts a task until it succeeds or the retry policy ends it, as Argo does."""
        given = driver.executor_input(component, inputs, self.run, name.rsplit('/', 1)[-1])
        task.inputs = len(json.dumps(given, ensure_ascii=False).encode())
        policy = spec.get('retryPolicy')
        first, skipped = time.monotonic(), 0.0
        for attempt in range(1 + (policy['maxRetryCount'] if policy else 0)):
            if attempt:
                # Argo's arithmetic, with a whole number as the factor and without waiting.
                wait = _seconds(policy['backoffDuration']) * int(policy['backoffFactor']) ** (
                    attempt - 1
                )
                since = time.monotonic() - first + skipped
                if since + wait > _seconds(policy['backoffMaxDuration']):
                    task.attempts.append('Backoff would exceed max duration limit')
                    return
                task.waits.append(wait)
                skipped += wait
            pod = self._pod(component, name, attempt, retried=policy is not None)
            disturb = self.backend.disturbance
            try:
                task.outputs = launch(
                    given,
                    component,
                    container,
                    pod,
                    self.backend.store,
                    self.backend.sandbox,
                    disturb(name, attempt) if disturb else None,
                )
                task.attempts.append('')
                task.state = 'succeeded'
            except LauncherError as error:
                task.attempts.append(str(error))
            finally:
                task.log = (
                    pod.log.read_text(encoding='utf-8', errors='replace')
                    if pod.log.exists()
                    else ''
                )
            if task.state == 'succeeded':
                return

    def _pod(self, component: dict[str, Any], name: str, attempt: int, retried: bool) -> Pod:
        settings = self.pipeline.kubernetes.get(component['executorLabel'], {})
        place = self.backend.directory / f'{name.replace("/", ".")}-{attempt}-{uuid.uuid4()}'
        place.mkdir(parents=True)
        environment = {'KFP_POD_NAME': place.name}
        if retried and self.backend.argo_index:
            environment['KFP_RETRY_INDEX'] = str(attempt)
        for secret in settings.get('secretAsEnv', []):
            values = self.backend.secrets.get(_secret_name(secret))
            if values is None:
                if secret.get('optional'):
                    continue
                raise LauncherError(f'secret {_secret_name(secret)!r} not found')
            for pair in secret['keyToEnv']:
                environment[pair['envVar']] = values[pair['secretKey']]
        claims = {
            mount['mountPath']: self.backend.claims[_claim_name(mount)]
            for mount in settings.get('pvcMount', [])
        }
        return Pod(place, claims, environment)


def _dependencies(task: dict[str, Any]) -> set[str]:
    """The tasks that a task waits for: those it names, and those whose outputs it takes."""
    found = set(task.get('dependentTasks', []))
    for kind, key in (
        ('parameters', 'taskOutputParameter'),
        ('artifacts', 'taskOutputArtifact'),
    ):
        found |= {
            spec[key]['producerTask']
            for spec in task.get('inputs', {}).get(kind, {}).values()
            if key in spec
        }
    return found


def _seconds(duration: str) -> float:
    return float(duration.removesuffix('s'))


def _claim_name(mount: dict[str, Any]) -> str:
    parameter = mount.get('pvcNameParameter', {}).get('runtimeValue', {}).get('constant')
    return mount.get('constant') or parameter


def _secret_name(secret: dict[str, Any]) -> str:
    parameter = secret.get('secretNameParameter', {}).get('runtimeValue', {}).get('constant')
    return secret.get('secretName') or parameter

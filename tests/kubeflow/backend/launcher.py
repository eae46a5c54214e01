"""What KFP's launcher does in a step's container, around the step's own program."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from tests.kubeflow.backend import metadata
from tests.kubeflow.backend.artifact_store import ArtifactStore, LauncherError, local_path
from tests.kubeflow.backend.driver import Values
from tests.kubeflow.backend.sandbox import Sandbox

_MOST_BYTES_OF_AN_ARGUMENT = 131_072
# A watcher of a running step: returns the signal to send to it, or None.
Watcher = Callable[[], signal.Signals | None]


@dataclasses.dataclass(frozen=True)
class Pod:
    """One attempt at a task.

    Attributes:
        place: A directory of this machine that is this pod's alone.
        claims: By mount path, the directory that stands for the mounted volume.
        environment: Variables, those from secrets among them.
    """

    place: pathlib.Path
    claims: dict[str, pathlib.Path]
    environment: dict[str, str]

    @property
    def log(self) -> pathlib.Path:
        """The file with what the step printed."""
        return self.place / 'log'


def launch(
    executor_input: dict[str, Any],
    component: dict[str, Any],
    container: dict[str, Any],
    pod: Pod,
    store: ArtifactStore,
    sandbox: Sandbox,
    watcher: Watcher | None = None,
) -> Values:
    """Runs a task's program once.

    Args:
        executor_input: From the driver.
        component: The task's component.
        container: The container of its executor.
        pod: Where it runs.
        store: The artifact store.
        sandbox: Starts the program.
        watcher: Is asked while the program runs whether to end it.

    Returns:
        The task's outputs, uploaded and recorded.

    Raises:
        LauncherError: The program failed, or something around it.
    """
    _check_argument('--executor_input', json.dumps(executor_input, ensure_ascii=False))
    _check_argument('--component_spec', json.dumps(component, ensure_ascii=False))
    for listed in executor_input['inputs']['artifacts'].values():
        for artifact in listed['artifacts']:
            store.check(artifact['uri'])
    _download(executor_input, pod, store, sandbox)
    _prepare_outputs(executor_input, pod, sandbox)
    command = _command(executor_input, component, container)
    try:
        process = sandbox.start(command, pod.environment, pod.place, pod.claims, pod.log)
    except OSError as error:
        raise LauncherError(f'fork/exec: {error.strerror}') from error
    status = _wait(process, watcher)
    if status:
        raise LauncherError(f'the program ended with {status}')
    return _collect(executor_input, component, pod, store, sandbox)


def _check_argument(name: str, text: str) -> None:
    size = len(text.encode())
    if size >= _MOST_BYTES_OF_AN_ARGUMENT:
        raise LauncherError(f'{name} has {size:,} bytes: Argument list too long')


def _download(
    executor_input: dict[str, Any], pod: Pod, store: ArtifactStore, sandbox: Sandbox
) -> None:
    for listed in executor_input['inputs']['artifacts'].values():
        for artifact in listed['artifacts']:
            path = local_path(artifact['uri'])
            if path is not None:
                store.download(artifact['uri'], sandbox.outside(path, pod.place))


def _prepare_outputs(executor_input: dict[str, Any], pod: Pod, sandbox: Sandbox) -> None:
    files = [
        output['outputFile'] for output in executor_input['outputs']['parameters'].values()
    ]
    files += [
        str(local_path(artifact['uri']))
        for listed in executor_input['outputs']['artifacts'].values()
        for artifact in listed['artifacts']
    ]
    for path in files:
        sandbox.outside(path, pod.place).parent.mkdir(parents=True, exist_ok=True)
    if sandbox.kind == 'root':  # in a pod, the launcher is the step's user itself
        for folder in ('tmp', 's3'):
            for parent, _, names in os.walk(pod.place / folder):
                for path in (parent, *(os.path.join(parent, name) for name in names)):
                    os.chown(path, 10001, 10001)


def _command(
    executor_input: dict[str, Any], component: dict[str, Any], container: dict[str, Any]
) -> list[str]:
    """The program and its arguments, with placeholders replaced and defaults filled in."""
    values = dict(executor_input['inputs']['parameterValues'])
    for name, definition in component.get('inputDefinitions', {}).get('parameters', {}).items():
        if name not in values and 'defaultValue' in definition:
            values[name] = definition['defaultValue']
    filled = {
        **executor_input,
        'inputs': {**executor_input['inputs'], 'parameterValues': values},
    }
    whole = json.dumps(filled, ensure_ascii=False)

    def replaced(text: str) -> str:
        text = text.replace('{{$}}', whole)
        return re.sub(
            r"\{\{\$\.inputs\.parameters\['(.+?)'\]\}\}",
            lambda found: _as_text(values[found.group(1)]),
            text,
        )

    return [replaced(text) for text in [*container['command'], *container.get('args', [])]]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _wait(process: subprocess.Popen, watcher: Watcher | None) -> int:
    """Waits for the program; what it left running ends with its container."""
    try:
        while True:
            try:
                return process.wait(0.05 if watcher else None)
            except subprocess.TimeoutExpired:
                sent = watcher() if watcher else None
                if sent is not None:
                    os.killpg(process.pid, sent)
                    watcher = None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _collect(
    executor_input: dict[str, Any],
    component: dict[str, Any],
    pod: Pod,
    store: ArtifactStore,
    sandbox: Sandbox,
) -> Values:
    outputs = executor_input['outputs']
    path = sandbox.outside(outputs['outputFile'], pod.place)
    said = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    values = Values(parameters=dict(said.get('parameterValues', {})))
    for name, output in outputs['parameters'].items():
        if name not in values.parameters:
            file = sandbox.outside(output['outputFile'], pod.place)
            if not file.exists():
                raise LauncherError(f'failed to read output parameter name={name!r}')
            kind = component['outputDefinitions']['parameters'][name]['parameterType']
            text = file.read_text(encoding='utf-8')
            values.parameters[name] = text if kind == 'STRING' else json.loads(text)
    for name, listed in outputs['artifacts'].items():
        values.artifacts[name] = []
        for artifact in listed['artifacts']:
            changed = said.get('artifacts', {}).get(name, {'artifacts': [{}]})['artifacts'][0]
            uri = changed.get('uri') or artifact['uri']
            kept = {**artifact['metadata'], **changed.get('metadata', {})}
            local = local_path(uri)
            if local is not None:
                store.upload(sandbox.outside(local, pod.place), uri)
            values.artifacts[name].append(metadata.record(name, artifact['type'], uri, kept))
    return values

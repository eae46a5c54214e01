"""Reads and renders the Kubernetes manifests for the tests."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / 'k8s'
TARGETS = ('base', 'overlays/gpu', 'overlays/flink', 'overlays/kserve')



@functools.cache
def render(directory: Path) -> list[dict[str, Any]]:
    """The objects that `kubectl apply -k directory` would send."""
    kubectl = shutil.which('kubectl')
    if not kubectl:
        pytest.skip('kubectl is not installed: the manifests are not rendered')
    done = subprocess.run([kubectl, 'kustomize', str(directory)], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def render_with(directory: Path, **fields: Any) -> list[dict[str, Any]]:
    """Renders a kustomization in `directory` that someone makes of parts of ours.

    Args:
        directory: an empty one.
        fields: of the kustomization; the paths of `resources` and `components` begin at k8s/.
    """
    for name in ('resources', 'components'):
        fields[name] = [os.path.relpath(K8S / path, directory)
                        for path in fields.get(name, [])]
    (directory / 'kustomization.yaml').write_text(yaml.safe_dump({
        'apiVersion': 'kustomize.config.k8s.io/v1beta1', 'kind': 'Kustomization', **fields}))
    return render(directory)


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The objects of one kind by name."""
    return {found['metadata']['name']: found for found in objects if found['kind'] == kind}


def pods(objects: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template, built-in or in a custom resource: (where, spec with its labels)."""
    for found in objects:
        where = f'{found["kind"]} {found["metadata"]["name"]}'
        spec = found.get('spec', {})
        if found['kind'] in ('Deployment', 'Job'):
            yield where, spec['template']
        elif found['kind'] == 'TFJob':
            for name, replica in spec['tfReplicaSpecs'].items():
                yield f'{where} {name}', replica['template']
        elif found['kind'] == 'FlinkDeployment':
            yield f'{where} job manager', _merged(spec['podTemplate'], {})
            yield f'{where} task manager', _merged(spec['podTemplate'],
                                                   spec['taskManager']['podTemplate'])
        elif found['kind'] == 'InferenceService':
            predictor = dict(spec['predictor'])
            model = {'name': 'model', 'image': f'model:{predictor["model"]["runtimeVersion"]}',
                     **predictor.pop('model')}
            yield where, {'spec': {**predictor, 'containers': [model]}}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a pod, the ones that only begin it included."""
    return pod['spec'].get('initContainers', []) + pod['spec']['containers']


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    # As the Flink operator merges pod templates: lists are added up.
    merged = dict(common['spec'])
    for key, value in own.get('spec', {}).items():
        merged[key] = merged.get(key, []) + value if isinstance(value, list) else value
    return {'metadata': {}, 'spec': merged}

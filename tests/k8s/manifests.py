"""Renders the Kubernetes manifests for the tests."""

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import yaml_files

ROOT = Path(__file__).parents[2]
K8S = ROOT / 'k8s'
TARGETS = ('base', 'overlays/gpu', 'overlays/flink', 'overlays/kserve', 'overlays/kind')
Manifest = dict[str, Any]


@functools.cache
def render(directory: Path) -> list[Manifest]:
    """Returns the objects that `kubectl apply -k directory` would send."""
    kubectl = shutil.which('kubectl')
    if not kubectl:
        pytest.skip('kubectl is not installed: the manifests are not rendered')
    done = subprocess.run(
        [kubectl, 'kustomize', str(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [found for found in yaml_files.load_all(done.stdout) if found]


def render_with(directory: Path, **fields: Any) -> list[Manifest]:
    """Renders a user's kustomization that is composed of ours.

    Args:
        directory: Empty directory for the kustomization.
        fields: Fields of the kustomization. Paths of `resources` and `components` are relative
            to k8s/.
    """
    for name in ('resources', 'components'):
        fields[name] = [os.path.relpath(K8S / path, directory) for path in fields.get(name, [])]
    yaml_files.write(
        directory / 'kustomization.yaml',
        {'apiVersion': 'kustomize.config.k8s.io/v1beta1', 'kind': 'Kustomization', **fields},
    )
    return render(directory)


def of_kind(objects: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Returns the objects of one kind by name."""
    return {found['metadata']['name']: found for found in objects if found['kind'] == kind}


def pods(objects: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yields (description, pod template) of built-in and of custom resources."""
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
            yield (
                f'{where} task manager',
                _merged(spec['podTemplate'], spec['taskManager']['podTemplate']),
            )
        elif found['kind'] == 'InferenceService':
            predictor = dict(spec['predictor'])
            model = {
                'name': 'model',
                'image': f'model:{predictor["model"]["runtimeVersion"]}',
                **predictor.pop('model'),
            }
            yield (
                where,
                {
                    'metadata': {'labels': predictor.pop('labels', {})},
                    'spec': {**predictor, 'containers': [model]},
                },
            )


def containers(pod: Manifest) -> list[Manifest]:
    """Returns the containers of a pod, init containers included."""
    return pod['spec'].get('initContainers', []) + pod['spec']['containers']


def volumes_of_claims(pod: Manifest) -> list[Manifest]:
    """Returns the volumes of a pod that are persistent volume claims."""
    return [
        volume for volume in pod['spec'].get('volumes', []) if 'persistentVolumeClaim' in volume
    ]


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Tells whether a label selector matches labels."""
    assert selector.keys() <= {'matchLabels'}, selector
    return selector.get('matchLabels', {}).items() <= labels.items()


def _merged(common: Manifest, own: Manifest) -> Manifest:
    # The Flink operator concatenates the lists of two pod templates.
    spec = dict(common['spec'])
    for key, value in own.get('spec', {}).items():
        spec[key] = spec.get(key, []) + value if isinstance(value, list) else value
    labels = [template.get('metadata', {}).get('labels', {}) for template in (common, own)]
    return {'metadata': {'labels': labels[0] | labels[1]}, 'spec': spec}

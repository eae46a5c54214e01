"""The workspace volume: writable by the user of the image, whichever pod mounts it first."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.k8s.manifests import (
    K8S,
    TARGETS,
    Manifest,
    containers,
    of_kind,
    pods,
    render,
    volumes_of_claims,
)


@pytest.fixture(params=TARGETS)
def objects(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(K8S / request.param)


def test_the_group_of_the_volume_does_not_depend_on_the_first_pod(objects):
    """The kubelet applies fsGroup at the first mount, unless the claim is read-only there."""
    mounting = [(where, pod) for where, pod in pods(objects) if volumes_of_claims(pod)]
    assert len(mounting) >= 2
    for where, pod in mounting:
        for volume in volumes_of_claims(pod):
            assert 'readOnly' not in volume['persistentVolumeClaim'], where
        context = pod['spec']['securityContext']
        assert context['fsGroup'] == 10001, where
        # Otherwise each start of a pod walks through all files of the volume.
        assert context['fsGroupChangePolicy'] == 'OnRootMismatch', where


def test_a_pod_lists_a_claim_once(objects):
    for where, pod in pods(objects):
        names = [
            volume['persistentVolumeClaim']['claimName'] for volume in volumes_of_claims(pod)
        ]
        assert len(set(names)) == len(names), where


def test_a_subpath_is_created_before_it_is_mounted(objects):
    """The kubelet would create it as root, and no push could write to it any more."""
    for where, pod in pods(objects):
        for number, container in enumerate(containers(pod)):
            for mount in container.get('volumeMounts', []):
                path = mount.get('subPath', mount.get('subPathExpr'))
                if path is None:
                    continue
                path = path.replace('$(', '$').replace(')', '')
                earlier = containers(pod)[:number]
                assert any(
                    f'mkdir -p "$WORKSPACE/{path}"' in ' '.join(found['args'])
                    for found in earlier
                ), where


def test_applying_with_another_image_changes_no_immutable_field(tmp_path):
    """`kubectl apply` of a Job with another template is refused as long as the Job exists."""
    (tmp_path / 'renamed').mkdir()
    for target in TARGETS:
        before = render(K8S / target)
        assert not [found for found in before if 'generateName' in found['metadata']]
        assert not of_kind(before, 'Job') and not of_kind(before, 'Pod')
        (tmp_path / 'renamed/kustomization.yaml').write_text(
            'apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n'
            f'resources: [{os.path.relpath(K8S / target, tmp_path / "renamed")}]\n'
            'images: [{name: mdctr/python-pipeline, newTag: 9.9.9}]\n'
        )
        render.cache_clear()
        after = render(tmp_path / 'renamed')
        names = [(found['kind'], found['metadata']['name']) for found in before]
        assert names == [(found['kind'], found['metadata']['name']) for found in after]
        assert before != after
        for old, new in zip(before, after, strict=True):
            if old['kind'] == 'Deployment':
                assert old['spec']['selector'] == new['spec']['selector']
            elif old['kind'] in ('PersistentVolumeClaim', 'Service', 'RoleBinding'):
                assert old == new


def init_script(target: str, kind: str, name: str) -> str:
    (pod,) = [pod for where, pod in pods(render(K8S / target)) if where == f'{kind} {name}']
    (container,) = [
        found for found in pod['spec']['initContainers'] if 'mkdir' in ' '.join(found['args'])
    ]
    assert container['command'] == ['sh', '-c']
    (script,) = container['args']
    return script


SCRIPTS = [
    ('base', 'Deployment', 'tensorboard'),
    ('overlays/kserve', 'InferenceService', 'mdctr'),
]


def run(script: str, workspace: Path, user: int | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        ['sh', '-c', script],
        text=True,
        capture_output=True,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        env={**os.environ, 'WORKSPACE': str(workspace), 'MODEL': 'movielens'},
        cwd='/',
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(('target', 'kind', 'name'), SCRIPTS)
def test_the_init_container_makes_the_directories_and_can_run_again(
    target, kind, name, tmp_path
):
    script = init_script(target, kind, name)
    for _ in range(2):
        done = run(script, tmp_path)
        assert done.returncode == 0, done.stderr
    pushed = tmp_path / 'models/movielens'
    assert pushed.is_dir()
    assert pushed.stat().st_mode & 0o777 == 0o750
    if kind == 'Deployment':
        assert {path.name for path in tmp_path.iterdir()} == {
            'cache',
            'datasets',
            'training',
            'models',
        }


@pytest.mark.skipif(os.geteuid() != 0, reason='needs root to run as another user')
@pytest.mark.parametrize('made_by_root', [False, True])
@pytest.mark.parametrize(('target', 'kind', 'name'), SCRIPTS)
def test_a_volume_that_is_not_writable_is_an_error_that_says_what_to_do(
    target, kind, name, made_by_root, tmp_path
):
    """`made_by_root`: an earlier kubelet created the directory of the model."""
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(0o755)
    if made_by_root:
        (tmp_path / 'models/movielens').mkdir(parents=True)
    done = run(init_script(target, kind, name), tmp_path, user=10001)
    assert done.returncode == 1
    assert 'User 10001 cannot write to' in done.stderr
    assert "see 'Workspace' in k8s/README.md" in done.stderr
    assert '## Workspace' in (K8S / 'README.md').read_text()

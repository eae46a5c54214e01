"""The image, by reading its Dockerfile: nothing here can build it."""

import fnmatch
import re
import shlex
from pathlib import PurePosixPath

import pytest
from manifests import K8S, ROOT

from components.component import component
from pipeline.config import ClusterConfig

KNOWN = {'ARG', 'FROM', 'RUN', 'COPY', 'ENV', 'USER', 'WORKDIR', 'CMD'}


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: continued lines joined, comments dropped."""
    lines = [line for line in (K8S / 'Dockerfile').read_text().splitlines()
             if not line.lstrip().startswith('#')]
    text = '\n'.join(lines).replace('\\\n', ' ')
    return [(line.split(None, 1)[0], line.split(None, 1)[1])
            for line in text.splitlines() if line.strip()]


def arguments(name: str) -> list[str]:
    return [rest for found, rest in instructions() if found == name]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps `path` out: the last pattern that matches it decides.

    A pattern matches a path, or a directory above it.
    """
    result = False
    for line in (ROOT / '.dockerignore').read_text().splitlines():
        line = line.strip()
        if not line or line.startswith('#'):
            continue
        keeps, pattern = line.startswith('!'), line.lstrip('!').rstrip('/')
        parts = PurePosixPath(path)
        if any(_matches(str(part), pattern) for part in (parts, *parts.parents)):
            result = not keeps
    return result


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith('**/'):
        return any(_matches('/'.join(path.split('/')[start:]), pattern[3:])
                   for start in range(path.count('/') + 1))
    return path.count('/') == pattern.count('/') and fnmatch.fnmatch(path, pattern)


def copied() -> list[str]:
    return [source for rest in arguments('COPY') for source in shlex.split(rest)[:-1]]


def test_every_instruction_is_known():
    names = [name for name, _ in instructions()]
    assert set(names) <= KNOWN
    assert names.index('FROM') <= 1


def test_the_base_is_pinned_debian_12_with_python_3_11():
    (base,) = [rest.partition('=')[2] for rest in arguments('ARG') if rest.startswith('BASE=')]
    assert re.fullmatch(r'python:3\.11\.\d+-slim-bookworm', base)
    assert arguments('FROM') == ['${BASE}']


@pytest.mark.parametrize('source', copied())
def test_what_is_copied_exists_and_is_not_ignored(source):
    assert (ROOT / source).exists()
    assert not ignored(source)
    below = [str(path.relative_to(ROOT)) for path in (ROOT / source).rglob('*.py')]
    assert not [path for path in below if ignored(path)]


@pytest.mark.parametrize('path', [
    '.git/config', '.venv/bin/python', 'runs/models/x/1/saved_model.pb',
    'tests/k8s/test_image.py', 'Makefile', 'k8s/base/serving.yaml',
    'beam_jobs/__pycache__/build.pyc'])
def test_what_the_image_has_no_use_for_is_ignored(path):
    assert ignored(path)


def test_the_packages_of_setup_py_are_copied():
    text = (ROOT / 'setup.py').read_text()
    packages = re.findall(r"'(\w+)\*'", text)
    assert packages and set(packages) <= set(copied())
    assert 'setup.py' in copied() and 'pyproject.toml' in copied()


def test_it_does_not_run_as_root():
    (user,) = arguments('USER')
    uid, gid = map(int, user.split(':'))
    assert uid > 0 and gid > 0
    runs = ' '.join(arguments('RUN'))
    assert f'useradd --uid {uid} --gid {gid}' in runs
    names = [name for name, _ in instructions()]
    assert names.index('USER') > max(i for i, name in enumerate(names) if name == 'RUN')


def test_the_user_of_the_manifests_is_the_images():
    (user,) = arguments('USER')
    for path in (K8S / 'base').glob('*.yaml'):
        for uid in re.findall(r'runAsUser: (\d+)', path.read_text()):
            assert uid == user.split(':')[0], path.name


def test_packages_are_installed_from_the_locks_alone():
    installs = [part for rest in arguments('RUN') for part in re.split(r'&&|;|then', rest)
                if 'pip install' in part]
    assert len(installs) == 3
    for install in installs:
        assert '--no-deps' in install and '--no-cache-dir' in install
        assert '--require-hashes' in install or install.rstrip().endswith(' .')


def test_code_does_not_reinstall_packages():
    order = [rest for _, rest in instructions()]
    lock = next(i for i, rest in enumerate(order) if '--require-hashes' in rest)
    code = next(i for i, rest in enumerate(order) if rest.startswith('beam_jobs'))
    assert lock < code


def test_the_environment():
    env = dict(pair.split('=', 1) for rest in arguments('ENV') for pair in shlex.split(rest))
    assert env['TF_USE_LEGACY_KERAS'] == '1'
    home = env['HOME']
    assert f'--create-home --home-dir {home}' in ' '.join(arguments('RUN'))
    assert arguments('WORKDIR')[-1] == home


def test_the_gpu_lock_is_what_our_tensorflow_names():
    from importlib.metadata import requires

    extra = [found for found in requires('tensorflow') if 'and-cuda' in found]
    wanted = {re.match(r'([\w-]+) *\(?==([\d.]+)', found).groups() for found in extra}
    lock = (K8S / 'requirements-gpu.txt').read_text()
    locked = set(re.findall(r'^([\w-]+)==([\d.]+) \\\n    --hash=sha256:[0-9a-f]{64}$', lock,
                            re.M))
    assert wanted and locked == wanted
    assert lock.count('==') == len(locked)


def test_the_image_is_called_what_the_components_call_it():
    text = (K8S / 'Dockerfile').read_text()
    assert f'-t {ClusterConfig().image} .' in text
    assert component.keywords['base_image'] == ClusterConfig().image

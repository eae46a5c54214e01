"""The image of k8s/Dockerfile, built from Debian's packages without a registry.

`make test-image` runs this. It needs root, debootstrap, Debian's mirror, PyPI and about 10 GB
of disk in `.cache/image`, and takes about ten minutes, most of it to install the lock.
"""

import re
from pathlib import Path

import pytest

from tests.image.builder import Image

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]


def output(image: Image, script: str) -> str:
    """Returns what a script prints that runs as the image's user."""
    done = image.run(script)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_only_the_build_stage_has_a_compiler(stages):
    script = 'for name in cc gcc g++ c++ ld; do command -v $name; done; true'
    assert output(stages['build'], script).split()
    assert not output(stages[None], script)


def test_it_runs_as_the_user_of_the_manifests(image):
    assert output(image, 'id -u; id -g; id -un; pwd').split() == [
        '10001',
        '10001',
        'mdctr',
        '/home/mdctr',
    ]
    assert output(image, 'test -w /opt/mdctr/venv && echo writable; true') == ''


def test_the_lock_is_installed(image):
    frozen = output(image, 'python -m pip list --format=freeze')
    installed = {line.split('==')[0].lower().replace('_', '-') for line in frozen.split()}
    lock = (ROOT / 'requirements.txt').read_text()
    locked = {name.lower() for name in re.findall(r'^([\w.-]+)==', lock, re.M)}
    assert locked <= installed | {name.replace('.', '-') for name in installed}
    assert 'mdctr' in installed


def test_packages_without_wheels_are_compiled(image):
    output(image, 'python -c "import crcmod._crcfunext, farmhash"')


@pytest.mark.parametrize(
    'command',
    [
        'mdctr --help',
        'tensorboard --version',
        'python -m apache_beam.runners.worker.worker_pool_main --help',
    ],
)
def test_what_the_manifests_run_starts(image, command):
    assert output(image, command)

"""The built image, which the tests of this folder share."""

import os
import shutil
from pathlib import Path

import pytest

from tests.image.builder import Image, build
from tests.k8s.dockerfile import parse
from tests.kubeflow.conftest import store

__all__ = ['store']


ROOT = Path(__file__).parents[2]
CACHE = ROOT / '.cache' / 'image'


@pytest.fixture(scope='session')
def stages() -> dict[str | None, Image]:
    """The built stages by name; the image has the name None."""
    if os.geteuid() != 0:
        pytest.skip('root is required, for debootstrap, mounts and chroot.')
    if shutil.which('debootstrap') is None:
        pytest.skip('debootstrap is not on PATH: apt-get install debootstrap.')
    return build(parse(ROOT / 'k8s' / 'Dockerfile'), ROOT, CACHE)


@pytest.fixture(scope='session')
def image(stages: dict[str | None, Image]) -> Image:
    """The image."""
    return stages[None]

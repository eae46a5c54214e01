"""The package as it is distributed: its metadata and the contents of an sdist."""

import subprocess
import sys
import tarfile
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

import pytest

import mdctr
from tests.processes import REPOSITORY


def _setup(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, 'setup.py', '--quiet', *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def sdist(tmp_path_factory) -> Path:
    """The project as Beam workers get it (`--setup_file`): an sdist, unpacked."""
    directory = tmp_path_factory.mktemp('sdist')
    _setup(
        REPOSITORY,
        *('egg_info', '--egg-base', str(directory)),
        *('sdist', '--dist-dir', str(directory)),
    )
    (archive,) = directory.glob('*.tar.gz')
    with tarfile.open(archive) as files:
        files.extractall(directory, filter='data')
    return directory / archive.name.removesuffix('.tar.gz')


@pytest.fixture(scope='module')
def metadata(sdist) -> Message:
    return HeaderParser().parsestr((sdist / 'PKG-INFO').read_text(encoding='utf-8'))


def test_the_version_is_the_packages(metadata):
    assert metadata['Version'] == mdctr.__version__


def test_the_license_is_named_and_included(metadata, sdist):
    assert 'Apache-2.0' in (metadata['License'], metadata['License-Expression'])
    assert 'Copyright 2026 The mdctr authors' in (sdist / 'LICENSE').read_text()


def test_the_description_is_the_readme(metadata):
    readme = (REPOSITORY / 'README.md').read_text(encoding='utf-8')
    assert metadata['Description-Content-Type'] == 'text/markdown'
    assert metadata.get_payload().strip() == readme.strip()


def test_an_sdist_can_be_installed_from(sdist):
    assert _setup(sdist, '--version').strip() == mdctr.__version__


def test_an_sdist_has_every_module_and_configuration(sdist):
    packages = ('mdctr', 'beam_jobs', 'trainer', 'components', 'pipeline')
    for package in packages:
        for path in (REPOSITORY / package).rglob('*'):
            if path.suffix in ('.py', '.yaml'):
                assert (sdist / path.relative_to(REPOSITORY)).exists(), path

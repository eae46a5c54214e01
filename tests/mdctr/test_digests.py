"""Digests of directories: of names and contents."""

import os
import shutil

import pytest

from mdctr.digests import directory_digest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'model' / 'variables').mkdir(parents=True)
    (tmp_path / 'model' / 'saved_model.pb').write_bytes(b'graph')
    (tmp_path / 'model' / 'variables' / 'data').write_bytes(b'weights')
    return tmp_path / 'model'


def test_every_change_gives_another_digest(folder):
    digests = [directory_digest(str(folder))]
    (folder / 'variables' / 'data').write_bytes(b'Weights')  # of the same size
    digests.append(directory_digest(str(folder)))
    (folder / 'extra').write_bytes(b'')
    digests.append(directory_digest(str(folder)))
    os.rename(folder / 'extra', folder / 'other')
    digests.append(directory_digest(str(folder)))
    assert len(set(digests)) == len(digests)


def test_a_copy_has_the_same_digest(folder, tmp_path):
    shutil.copytree(folder, tmp_path / 'copy')
    assert directory_digest(str(tmp_path / 'copy')) == directory_digest(str(folder))

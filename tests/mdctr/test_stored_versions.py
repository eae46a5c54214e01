"""Which versions of a dataset are kept, and what removing the others removes."""

import dataclasses
import json

import pytest

from mdctr import storage
from mdctr.dataset import open_dataset
from mdctr.dataset_versions import lease_path, list_versions, write_current
from mdctr.file_records import FileRecord
from mdctr.leases import lease
from mdctr.manifest import write_manifest
from mdctr.stored_versions import remove_version, stored_versions
from tests.mdctr.test_dataset import manifest

NAMES = 'abcdef'


def fingerprint(name: str) -> str:
    return name * 64


@pytest.fixture(params=['local', 's3'])
def workspace(request, tmp_path) -> str:
    """Versions a to e, each current after the one before it; f is not complete."""
    local = request.param == 'local'
    workspace = str(tmp_path) if local else request.getfixturevalue('bucket')
    directory = storage.join(workspace, 'datasets', 'shop')
    for name in NAMES[:-1]:
        version = storage.join(directory, fingerprint(name))
        storage.write_bytes(storage.join(version, 'examples', 'train', 'part-0'), b'rows')
        write_manifest(version, manifest(fingerprint(name)))
        write_current(directory, fingerprint(name))
    unfinished = storage.join(directory, fingerprint('f'), 'staging', '1', 'plan.json')
    storage.write_bytes(unfinished, b'{}')
    return workspace


def kept(workspace: str, recent: int = 0) -> dict[str, list[str]]:
    """Why each version is kept, by the first letter of its fingerprint."""
    return {
        version.fingerprint[0]: version.kept
        for version in stored_versions(workspace, 'shop', recent)
    }


def test_the_current_version_and_recent_ones_are_kept(workspace):
    found = kept(workspace, recent=2)
    assert list(found) == ['e', 'd', 'c', 'b', 'a', 'f']
    assert found == {
        'e': ['current', 'recent'],
        'd': ['recent'],
        'c': [],
        'b': [],
        'a': [],
        'f': [],
    }


def test_what_models_and_training_runs_were_trained_on_is_kept(workspace):
    pushed = storage.join(workspace, 'models', 'shop', '3')
    run = storage.join(workspace, 'training', 'shop', 'star-1', 'checkpoints')
    storage.write_json(
        storage.join(pushed, 'model.json'), {'dataset': {'fingerprint': fingerprint('a')}}
    )
    storage.write_json(storage.join(run, 'run.json'), {'dataset': fingerprint('b')})
    found = kept(workspace)
    assert (found['a'], found['b'], found['c']) == ([pushed], [run], [])


def test_a_version_whose_files_a_kept_version_has_is_kept(workspace):
    version = storage.join(workspace, 'datasets', 'shop', fingerprint('e'))
    current = open_dataset(version).manifest
    record = FileRecord(4, current.files['examples/train/part-0'].sha256, fingerprint('b'))
    write_manifest(
        version, dataclasses.replace(current, files={**current.files, 'log/0.arrow': record})
    )
    assert kept(workspace)['b'] == [f'extended by {fingerprint("e")[:12]}']


def test_a_version_that_is_being_built_is_kept(workspace):
    path = lease_path(storage.join(workspace, 'datasets', 'shop'), fingerprint('f'))
    with lease(path, 'is building it'):
        (reason,) = kept(workspace)['f']
        assert 'is building it' in reason
    assert kept(workspace)['f'] == []


def test_removing_a_version_leaves_the_others(workspace):
    directory = storage.join(workspace, 'datasets', 'shop')
    for version in stored_versions(workspace, 'shop', recent=1):
        if not version.kept:
            remove_version(version)
    assert list_versions(directory) == [fingerprint('e')]
    open_dataset(directory).verify()


def test_a_damaged_model_does_not_stop_the_list(workspace):
    path = storage.join(workspace, 'models', 'shop', '1', 'model.json')
    for text in ('{', '[]', json.dumps({'dataset': None})):
        storage.write_text(path, text)
        assert kept(workspace)['e'] == ['current']

"""Listing the pushed versions of a model."""

import logging
import os
import shutil

import pytest

from mdctr import storage
from mdctr.errors import UserError
from mdctr.exported_model import model_digest, write_model_json
from mdctr.pushed_models import (
    PushRecord,
    complete_versions,
    describe_versions,
    greatest_version,
    latest_version,
    push_record,
    read_push_record,
    write_push_record,
)

NAME = 'clicks'


def write_version(models: str, version: str, content: bytes = b'graph') -> str:
    """A version with a graph, and a `model.json` that lists it; returns its directory."""
    path = storage.join(models, NAME, version)
    storage.write_bytes(storage.join(path, 'saved_model.pb'), content)
    storage.write_bytes(storage.join(path, 'variables', 'variables.index'), b'index')
    write_model_json(path, {'features': [], 'dataset': {'fingerprint': 'f'}})
    return path


@pytest.fixture
def models(tmp_path):
    return str(tmp_path / 'models')


@pytest.fixture(params=['local', 's3'])
def anywhere(request, tmp_path):
    """The directory of pushed models on a local disk and on an object store."""
    if request.param == 'local':
        return str(tmp_path / 'models')
    return storage.join(request.getfixturevalue('bucket'), 'models')


def test_the_latest_version_is_a_number(anywhere):
    for version in ('2', '10', 'latest', '.tmp-x', '007', '-3'):
        write_version(anywhere, version)
    assert latest_version(anywhere, NAME) == storage.join(anywhere, NAME, '10')
    assert latest_version(anywhere, 'other') is None
    assert greatest_version(anywhere, NAME) == 10
    assert greatest_version(anywhere, 'other') == 0
    assert complete_versions(anywhere, NAME) == [
        storage.join(anywhere, NAME, version) for version in ('10', '2')
    ]


@pytest.mark.parametrize('file', ['saved_model.pb', 'variables/variables.index', 'model.json'])
def test_a_version_with_a_missing_file_is_reported_and_not_a_version(models, file, caplog):
    write_version(models, '1')
    damaged = write_version(models, '2')
    storage.remove(storage.join(damaged, file))
    with caplog.at_level(logging.WARNING):
        assert latest_version(models, NAME) == storage.join(models, NAME, '1')
    assert f'{damaged} is damaged' in caplog.text
    assert file in caplog.text


def test_a_version_with_a_truncated_file_is_not_a_version(anywhere):
    write_version(anywhere, '1')
    damaged = write_version(anywhere, '2')
    storage.write_bytes(storage.join(damaged, 'saved_model.pb'), b'gra')
    assert latest_version(anywhere, NAME) == storage.join(anywhere, NAME, '1')


def test_a_version_of_an_earlier_format_needs_its_graph_only(models):
    path = write_version(models, '1')
    storage.write_json(
        storage.join(path, 'model.json'), {'features': [], 'dataset': {'fingerprint': 'f'}}
    )
    assert latest_version(models, NAME) == path
    storage.remove(storage.join(path, 'saved_model.pb'))
    assert latest_version(models, NAME) is None


def test_a_version_that_was_removed_while_it_was_served_is_withdrawn(anywhere):
    paths = [write_version(anywhere, str(number), b'%d' % number) for number in (1, 2)]
    digests = [model_digest(path) for path in paths]
    write_push_record(anywhere, NAME, push_record(anywhere, NAME))
    assert read_push_record(anywhere, NAME) == PushRecord(2, {1: digests[0], 2: digests[1]})
    storage.remove_directory(paths[1])
    assert push_record(anywhere, NAME) == PushRecord(
        1, {1: digests[0], 2: digests[1]}, [digests[1]]
    )
    assert greatest_version(anywhere, NAME) == 2  # whose number is not used again


def test_a_version_that_was_removed_after_its_successor_came_is_not_withdrawn(models):
    paths = [write_version(models, str(number), b'%d' % number) for number in (1, 2)]
    write_push_record(models, NAME, push_record(models, NAME))
    storage.remove_directory(paths[0])
    assert push_record(models, NAME).withdrawn == []


def test_a_damaged_version_is_not_withdrawn(models):
    paths = [write_version(models, str(number), b'%d' % number) for number in (1, 2)]
    write_push_record(models, NAME, push_record(models, NAME))
    storage.remove(storage.join(paths[1], 'saved_model.pb'))
    assert push_record(models, NAME).withdrawn == []
    assert push_record(models, NAME).version == 1


def test_a_damaged_record_is_one_sentence(models):
    storage.write_text(storage.join(models, NAME, 'current.json'), '{"version": 1')
    with pytest.raises(UserError, match='current.json is damaged'):
        read_push_record(models, NAME)


def test_every_version_has_a_state(tmp_path):
    models = str(tmp_path)
    paths = [write_version(models, str(number), b'%d' % number) for number in (1, 2, 3, 4)]
    record = push_record(models, NAME)
    write_push_record(
        models, NAME, PushRecord(4, record.digests, withdrawn=[record.digests[3]])
    )
    shutil.rmtree(paths[0])
    os.remove(os.path.join(paths[1], 'saved_model.pb'))
    assert [(version.number, version.state) for version in describe_versions(models, NAME)] == [
        (4, 'served'),
        (3, 'withdrawn'),
        (2, 'damaged (saved_model.pb is missing)'),
        (1, 'removed'),
    ]

"""Versions of a dataset: every build makes one, and none disturbs another or its readers."""

import logging
import os

import pytest

from mdctr import storage
from mdctr.dataset import open_dataset
from mdctr.dataset_versions import list_versions
from mdctr.errors import UserError
from tests.beam_jobs.build.versioned_dataset import build, contents, extend


@pytest.fixture
def directory(tmp_path) -> str:
    return str(tmp_path / 'datasets' / 'shop')


def test_a_rebuild_leaves_the_earlier_version_to_its_readers(directory):
    first = open_dataset(build(directory))
    before = contents(first.directory)
    second = build(directory, seed=7)
    assert open_dataset(directory).directory == second != first.directory
    assert contents(first.directory) == before
    assert first.example_files('period-1') and first.vocabulary('item_id')


def test_an_earlier_configuration_is_current_again_without_another_build(directory):
    first = build(directory)
    build(directory, seed=7)
    before = os.stat(storage.join(first, 'manifest.json')).st_mtime_ns
    assert build(directory) == first == open_dataset(directory).directory
    assert os.stat(storage.join(first, 'manifest.json')).st_mtime_ns == before


def test_a_version_has_the_files_of_its_manifest_and_no_others(directory):
    first = open_dataset(build(directory))
    assert sorted([*first.manifest.files, 'manifest.json']) == storage.list_files(
        first.directory
    )
    extended = open_dataset(extend(directory))
    own = [name for name, record in extended.manifest.files.items() if not record.version]
    assert sorted([*own, 'manifest.json']) == storage.list_files(extended.directory)
    assert not [name for name in own if 'period' in name]


def test_a_build_keeps_what_was_added_and_says_so(directory, caplog):
    caplog.set_level(logging.INFO)
    first = build(directory)
    extended = extend(directory)
    assert build(directory) == extended == open_dataset(directory).directory
    assert 'was extended by the split fourth: the extended version stays' in caplog.text
    assert build(directory, without_extensions=True) == first
    assert open_dataset(directory).directory == first


def test_a_build_with_other_settings_does_not_drop_what_was_added(directory):
    build(directory)
    extended = extend(directory)
    with pytest.raises(UserError, match='was extended by the split fourth.*--without-ext'):
        build(directory, seed=7)
    assert open_dataset(directory).directory == extended
    other = build(directory, seed=7, without_extensions=True)
    assert open_dataset(directory).directory == other


def test_extending_twice_by_the_same_days_is_extending_once(directory):
    build(directory)
    extended = extend(directory)
    assert extend(directory) == extended
    assert len(list_versions(directory)) == 2


def test_the_rows_of_days_are_kept_once(directory):
    """A version of n days has the rows of its own day, not those of all days before."""
    build(directory)
    extend(directory)
    logs = open_dataset(extend(directory, 'fifth')).manifest.files
    sizes = [record.size for name, record in logs.items() if name.startswith('log/')]
    assert len(sizes) == 3 and max(sizes[1:]) < sizes[0]


def test_a_read_only_workspace_needs_no_write_if_the_dataset_is_up_to_date(
    directory, monkeypatch
):
    version = build(directory)

    def refuse(path):
        raise OSError(30, 'Read-only file system', path)

    monkeypatch.setattr(storage, '_before_write', refuse)
    assert build(directory) == version
    with pytest.raises(UserError, match='is read-only: use a workspace that can be written'):
        build(directory, seed=7)


def test_a_workspace_that_is_a_file(tmp_path):
    (tmp_path / 'runs').write_text('')
    with pytest.raises(UserError, match='cannot be read or written: Not a directory'):
        build(str(tmp_path / 'runs' / 'datasets' / 'shop'))

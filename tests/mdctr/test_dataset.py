"""Files of a dataset that were changed, cut or removed are noticed; those of versions found."""

import dataclasses

import pytest

from mdctr import storage
from mdctr.dataset import open_dataset
from mdctr.dataset_versions import write_current
from mdctr.errors import UserError
from mdctr.manifest import Manifest, Rows, Split, write_manifest

FINGERPRINTS = ['a' * 64, 'b' * 64]


def manifest(fingerprint: str, **changes) -> Manifest:
    splits = {'train': Split(('2020-01-01', '2020-01-01'), {'a': 2}, {'a': 1})}
    return Manifest('shop', fingerprint, [], [], splits, Rows(0, 0, 0, 0, 0, 0, 0), **changes)


@pytest.fixture(params=['local', 's3'])
def directory(request, tmp_path) -> str:
    """A dataset of two versions, of which the second, current one refers to the first."""
    local = request.param == 'local'
    workspace = str(tmp_path) if local else request.getfixturevalue('bucket')
    directory = storage.join(workspace, 'datasets', 'shop')
    first, second = (storage.join(directory, name) for name in FINGERPRINTS)
    storage.write_text(storage.join(first, 'vocabulary', 'item_id.txt'), 'x\ny\nz\n')
    storage.write_bytes(storage.join(first, 'examples', 'train', 'part-0.parquet'), b'rows')
    write_manifest(first, manifest(FINGERPRINTS[0]))
    storage.write_bytes(storage.join(second, 'examples', 'next', 'part-0.parquet'), b'more')
    write_manifest(second, manifest(FINGERPRINTS[1]))
    own = open_dataset(second).manifest
    earlier = {
        name: dataclasses.replace(record, version=FINGERPRINTS[0])
        for name, record in open_dataset(first).manifest.files.items()
    }
    write_manifest(second, dataclasses.replace(own, files=earlier | own.files))
    write_current(directory, FINGERPRINTS[1])
    return directory


def test_a_version_finds_files_of_the_version_that_it_extends(directory):
    dataset = open_dataset(directory)
    assert dataset.directory == storage.join(directory, FINGERPRINTS[1])
    assert dataset.vocabulary('item_id') == ['x', 'y', 'z']
    (train,), (added,) = dataset.example_files('train'), dataset.example_files('next')
    assert train == storage.join(directory, FINGERPRINTS[0], 'examples/train/part-0.parquet')
    assert added == storage.join(directory, FINGERPRINTS[1], 'examples/next/part-0.parquet')
    assert dataset.verify() == len('x\ny\nz\n') + len('rows') + len('more')


@pytest.mark.parametrize('text', ['x\nz\n', 'x\ny\nz\nw\n', 'x\nz\ny\n', ''])
def test_a_vocabulary_that_was_changed_is_not_read(directory, text):
    dataset = open_dataset(directory)
    path = dataset.path('vocabulary/item_id.txt')
    storage.write_text(path, text)
    for read in (dataset.vocabulary, dataset.vocabulary_bytes, dataset.local_vocabulary):
        with pytest.raises(UserError, match='item_id.txt is damaged .*: restore the file'):
            read('item_id')


def test_an_example_file_that_was_cut_is_noticed_by_its_size(directory):
    dataset = open_dataset(directory)
    storage.write_bytes(dataset.path('examples/train/part-0.parquet'), b'row')
    with pytest.raises(UserError, match='it has 3 bytes instead of 4'):
        dataset.example_files('train')


def test_an_example_file_that_is_missing_is_noticed(directory):
    dataset = open_dataset(directory)
    storage.remove(dataset.path('examples/train/part-0.parquet'))
    with pytest.raises(UserError, match='part-0.parquet is damaged .it is missing.'):
        dataset.example_files('train')


def test_verify_notices_a_byte_that_changed(directory):
    dataset = open_dataset(directory)
    storage.write_bytes(dataset.path('examples/next/part-0.parquet'), b'mare')
    assert dataset.example_files('next')  # its size is the same
    with pytest.raises(UserError, match='next/part-0.parquet is damaged .its contents'):
        dataset.verify()


def test_a_vocabulary_has_a_local_file(directory):
    with open(open_dataset(directory).local_vocabulary('item_id'), encoding='utf-8') as file:
        assert file.read() == 'x\ny\nz\n'


def test_a_damaged_file_that_names_the_current_version(directory):
    storage.write_text(storage.join(directory, 'current.json'), '{"version": ')
    with pytest.raises(UserError, match='current.json is damaged'):
        open_dataset(directory)

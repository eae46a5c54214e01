"""The manifest is written atomically, and refused if it is damaged."""

import json

import pytest

from mdctr import manifest as dataset
from mdctr.errors import UserError
from mdctr.manifest import Domain, Feature, Manifest, Rows, Split


def _manifest() -> Manifest:
    return Manifest(
        name='tiny',
        fingerprint='f' * 64,
        features=[
            Feature('user_id', 'categorical', 'user', 3, 'user_id'),
            Feature('age', 'numeric', 'user', 4, boundaries=[1.5, 2.5]),
            Feature('recent', 'sequence', 'context', 9, 'item_id', 5, history=True),
        ],
        domains=[Domain(1, 'a'), Domain(2, 'b|c')],
        splits={'train': Split(('2020-01-01', '2020-01-02'), {'a': 2, 'b|c': 1}, {'a': 1})},
        rows=Rows(4, 1, 0, 0, 0, 3, 0, {'missing user_id': 1}),
    )


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    dataset.write_manifest(str(tmp_path), _manifest())
    read = dataset.read_manifest(str(tmp_path))
    assert read == _manifest()
    assert read.num_domains == 3
    assert read.feature('age').boundaries == [1.5, 2.5]
    assert [entry.name for entry in tmp_path.iterdir()] == ['manifest.json']


def test_a_directory_without_a_manifest_is_refused(tmp_path):
    (tmp_path / 'examples').mkdir()
    with pytest.raises(UserError, match='does not contain a complete dataset'):
        dataset.read_manifest(str(tmp_path))


def test_a_damaged_manifest_is_refused(tmp_path):
    (tmp_path / 'manifest.json').write_text('{"name": "ti')
    with pytest.raises(UserError, match='is not a dataset manifest'):
        dataset.read_manifest(str(tmp_path))


def test_a_manifest_of_another_format_is_refused(tmp_path):
    dataset.write_manifest(str(tmp_path), _manifest())
    path = tmp_path / 'manifest.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'format': 99}))
    with pytest.raises(UserError, match='has format 99'):
        dataset.read_manifest(str(tmp_path))


def test_vocabulary_keeps_odd_values(tmp_path):
    path = dataset.vocabulary_path(str(tmp_path), 'item_id')
    (tmp_path / 'vocabulary').mkdir()
    values = ['b', ' a ', 'ü\x85x', 'c\r']
    with open(path, 'w', encoding='utf-8', newline='\n') as file:
        file.write(''.join(value + '\n' for value in values))
    assert dataset.read_vocabulary(str(tmp_path), 'item_id') == values

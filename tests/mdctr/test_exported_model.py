"""An exported model and the files that its `model.json` lists."""

import hashlib
import os
import shutil

import pytest

from mdctr import storage
from mdctr.errors import UserError
from mdctr.exported_model import (
    check_files,
    model_digest,
    model_problem,
    read_model_json,
    write_model_json,
)

DESCRIPTION = {'features': ['age'], 'dataset': {'fingerprint': 'f'}}


@pytest.fixture
def model(tmp_path):
    (tmp_path / 'export' / 'variables').mkdir(parents=True)
    (tmp_path / 'export' / 'saved_model.pb').write_bytes(b'graph')
    (tmp_path / 'export' / 'variables' / 'data').write_bytes(b'weights')
    write_model_json(str(tmp_path / 'export'), DESCRIPTION)
    return str(tmp_path / 'export')


def test_model_json_lists_every_other_file_with_size_and_sha_256(model):
    assert read_model_json(model) == {
        **DESCRIPTION,
        'files': {
            'saved_model.pb': {'size': 5, 'sha256': hashlib.sha256(b'graph').hexdigest()},
            'variables/data': {'size': 7, 'sha256': hashlib.sha256(b'weights').hexdigest()},
        },
    }


def test_a_missing_file_is_named(model):
    os.remove(os.path.join(model, 'variables', 'data'))
    assert model_problem(model) == 'variables/data is missing'
    with pytest.raises(UserError, match='does not contain an exported model .variables/data'):
        read_model_json(model)


def test_a_truncated_file_is_named(model):
    os.truncate(os.path.join(model, 'variables', 'data'), 3)
    assert model_problem(model) == 'variables/data has 3 bytes instead of 7'


def test_changed_content_of_the_same_size_is_found_where_the_content_is_read(model):
    check_files(model)
    with open(os.path.join(model, 'variables', 'data'), 'wb') as file:
        file.write(b'Weights')
    assert model_problem(model) is None
    with pytest.raises(UserError, match='variables/data has changed since'):
        check_files(model)


def test_copies_have_the_same_digest_and_other_weights_another(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / 'copy')
    assert model_digest(str(copy)) == model_digest(model)
    (copy / 'variables' / 'data').write_bytes(b'Weights')
    write_model_json(str(copy), DESCRIPTION)
    assert model_digest(str(copy)) != model_digest(model)


def test_the_digest_reads_model_json_only(model, monkeypatch):
    def read(path):
        raise AssertionError(path)

    monkeypatch.setattr(storage, 'file_digest', read)
    assert model_digest(model)

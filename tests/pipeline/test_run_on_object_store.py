"""The whole pipeline with its workspace on an object store."""

import pytest

from mdctr import storage
from mdctr.dataset_versions import read_current
from mdctr.exported_model import check_files
from mdctr.pushed_models import complete_versions
from mdctr.workspace import dataset_directory
from pipeline.cli.main import main
from tests.pipeline.own_log import write_config, write_log


@pytest.mark.slow
def test_a_run_and_another_on_an_object_store(bucket, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'a secret that nobody may see')
    write_log(tmp_path / 'log.csv', rows=3000)
    config = write_config(tmp_path / 'shops.yaml', tmp_path / 'log.csv')
    workspace = storage.join(bucket, 'runs')
    assert main(['run', config, '--workspace', workspace]) == 0
    assert 'Pushed shops version 1 to' in capfd.readouterr().out
    (version,) = complete_versions(storage.join(workspace, 'models'), 'shops')
    check_files(version)
    dataset = read_current(dataset_directory(workspace, 'shops'))
    assert main(['run', config, '--workspace', workspace]) == 0
    assert read_current(dataset_directory(workspace, 'shops')) == dataset
    assert complete_versions(storage.join(workspace, 'models'), 'shops')[-1] == version
    assert sorted(path.name for path in tmp_path.iterdir()) == ['log.csv', 'shops.yaml']
    for name in storage.list_files(workspace):
        content = storage.read_bytes(storage.join(workspace, name))
        assert b'a secret that nobody may see' not in content, name

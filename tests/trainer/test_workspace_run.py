"""Training runs in a workspace: which are reused, resumed or started."""

import os
import shutil

import pytest

import mdctr
import trainer.train
from mdctr import storage
from mdctr.dataset import open_dataset
from mdctr.exported_model import read_model_json, write_model_json
from trainer.config import ModelConfig, TrainConfig
from trainer.export.load import WarmStart
from trainer.workspace_run import train_in_workspace

CONFIG = TrainConfig(
    model=ModelConfig(name='mlp', embedding_dim=4, hidden_units=[8]),
    batch_size=64,
    epochs=1,
    learning_rate=0.01,
)


@pytest.fixture(scope='module')
def trained(dataset, tmp_path_factory):
    """A workspace with a finished run."""
    workspace = str(tmp_path_factory.mktemp('trained') / 'runs')
    train_in_workspace(open_dataset(dataset), workspace, 'shops', CONFIG)
    return workspace


@pytest.fixture
def workspace(trained, tmp_path):
    """A copy of the workspace with a finished run."""
    return shutil.copytree(trained, str(tmp_path / 'runs'))


@pytest.fixture
def run(dataset, workspace, monkeypatch):
    """Runs in the workspace without training; returns the number of the model's run."""
    monkeypatch.setattr(
        trainer.train, 'train', lambda dataset, run, config, **start: f'{run}/export'
    )

    def run(config=CONFIG, **options):
        model = train_in_workspace(open_dataset(dataset), workspace, 'shops', config, **options)
        name = storage.name(storage.parent(model))
        method, number = name.rsplit('-', 1)
        return method, int(number)

    return run


def export_of(workspace):
    (name,) = os.listdir(os.path.join(workspace, 'training', 'shops'))
    return os.path.join(workspace, 'training', 'shops', name, 'export')


def test_a_finished_run_is_reused_and_a_line_says_so(run, workspace, caplog):
    caplog.set_level('INFO')
    assert run()[1] == 1
    (line,) = caplog.messages
    assert export_of(workspace) in line and '--again' in line


def test_another_run_is_trained_if_that_is_asked_for(run):
    method, number = run(again=True)
    assert number == 2
    assert run() == (method, 1)


def test_an_interrupted_run_is_resumed(run, workspace):
    storage.remove_directory(export_of(workspace))
    os.remove(os.path.join(os.path.dirname(export_of(workspace)), 'checkpoints', 'finished'))
    assert run()[1] == 1


def test_other_settings_or_another_version_of_mdctr_are_another_run(run, monkeypatch):
    reused = run()
    other_settings = run(CONFIG.replace(seed=CONFIG.seed + 1))
    monkeypatch.setattr(mdctr, '__version__', 'another')
    assert len({reused, other_settings, run()}) == 3


@pytest.mark.parametrize('name', ['saved_model.pb', 'model.json', 'golden.json'])
def test_an_export_without_one_of_its_files_is_reported_and_not_reused(
    run, workspace, caplog, name
):
    path = os.path.join(export_of(workspace), name)
    os.remove(path)
    assert run()[1] == 2
    (line,) = caplog.messages
    assert export_of(workspace) in line and name in line


def test_an_export_whose_content_has_changed_is_reported_and_not_reused(run, workspace, caplog):
    path = os.path.join(export_of(workspace), 'golden.json')
    content = storage.read_bytes(path)
    storage.write_bytes(path, content[:-1] + b' ')
    assert run()[1] == 2
    assert 'golden.json' in caplog.text


def test_an_earlier_run_is_reused_if_the_latest_is_damaged(run, workspace):
    first = os.path.dirname(export_of(workspace))
    second = shutil.copytree(first, first.removesuffix('1') + '2')
    os.remove(os.path.join(second, 'export', 'saved_model.pb'))
    assert run()[1] == 1


def test_another_model_to_start_from_in_the_same_directory_is_another_run(
    run, workspace, tmp_path
):
    initial = shutil.copytree(export_of(workspace), tmp_path / 'initial')
    before = run(warm_start=WarmStart(str(initial)))
    description = read_model_json(str(initial))
    write_model_json(str(initial), {**description, 'epoch': 7})
    assert run(warm_start=WarmStart(str(initial))) != before
    assert run(source=str(initial)) != run(source=export_of(workspace))


def test_a_copy_of_the_model_to_start_from_is_the_same_run(run, workspace, tmp_path):
    copy = str(shutil.copytree(export_of(workspace), tmp_path / 'copy'))
    original = export_of(workspace)
    assert run(warm_start=WarmStart(copy)) == run(warm_start=WarmStart(original))
    assert run(source=copy) == run(source=original)

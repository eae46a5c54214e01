"""Every command with a workspace and a log on an object store.

`run` and `compare` are in tests/pipeline/test_run_on_object_store.py, `fetch` and `simulate` in
test_dataset_commands.py.
"""

import contextlib
import io
import os

import pytest

from mdctr import storage
from mdctr.exported_model import model_problem
from mdctr.workspace import current_dataset
from pipeline.cli.main import main
from tests.object_store import new_bucket
from tests.pipeline.own_log import log_lines, write_config
from tests.pipeline.steps_here import run_steps_here
from trainer.loop.checkpoints import Checkpoints

SEVENTH_DAY = 1577836800 + 6 * 86400
TRAIN = {
    'model': {'name': 'mlp', 'embedding_dim': 4, 'hidden_units': [8]},
    'batch_size': 64,
    'epochs': 2,
    'checkpoint_steps': 4,
}


@pytest.fixture(scope='module')
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope='module')
def bucket(s3_server, patch):
    with new_bucket(s3_server, patch) as url:
        yield url


@pytest.fixture(scope='module')
def command(bucket, tmp_path_factory, patch):
    """Runs a command on the configuration in an empty directory; returns its output."""
    folder = tmp_path_factory.mktemp('config')
    header, *rows = log_lines(1400, days=7)
    added = [row for row in rows if int(row.split(',')[3]) >= SEVENTH_DAY]
    for name, lines in (('log', rows[: -len(added)]), ('day-7', added)):
        storage.write_text(f'{bucket}/{name}/part-0.csv', '\n'.join([header, *lines]) + '\n')
    storage.write_text(f'{bucket}/log/_SUCCESS', '')
    config = write_config(folder / 'shops.yaml', f'{bucket}/log', train=TRAIN)
    run_steps_here(patch, tmp_path_factory.mktemp('steps'))
    patch.chdir(tmp_path_factory.mktemp('here'))

    def run(*words: str, status: int = 0) -> str:
        output = io.StringIO()
        group = words[:2] if words[0] in ('dataset', 'models') else words[:1]
        name = 'shops' if words[0] == 'models' else config
        with contextlib.redirect_stdout(output):
            found = main([*group, name, '--workspace', f'{bucket}/runs', *words[len(group) :]])
        assert found == status
        assert os.listdir() == []
        return output.getvalue()

    run('dataset', 'build', '--set', 'dataset.extendable=true')
    return run


@pytest.fixture(scope='module')
def model(command):
    """The directory of an exported model, whose training was interrupted once."""
    save, saved = Checkpoints.save, []

    def interrupt(checkpoints, state):
        save(checkpoints, state)
        saved.append(state.step)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, 'save', interrupt)
        command('train', status=130)
    return command('train').strip().removeprefix('The model: ')


def test_a_dataset_is_built_and_validated(command, bucket):
    dataset = current_dataset(f'{bucket}/runs', 'shops')
    assert dataset.manifest.rows.read > 1000
    report = command('dataset', 'validate').splitlines()[-1].removeprefix('The report: ')
    assert b'<html' in storage.read_bytes(report)


def test_training_that_was_interrupted_resumes_in_its_run(model, bucket, command, caplog):
    assert model_problem(model) is None
    assert len(storage.list_directory(f'{bucket}/runs/training/shops')) == 1
    assert command('train') == f'The model: {model}\n'
    assert f'Reusing the model {model}' in caplog.text


def test_a_model_is_evaluated_and_pushed(command, model, bucket):
    evaluation = f'{bucket}/runs/evaluation'
    arguments = ('--model-directory', model)
    assert 'overall' in command('evaluate', *arguments, '--output', evaluation)
    arguments += ('--evaluation', evaluation)
    assert 'Pushed shops version 1' in command('push', *arguments)
    assert 'version 1 is this model already' in command('push', *arguments)
    assert command('models', 'list').splitlines()[1].split()[0] == '1'


def test_examples_are_exported(command, bucket):
    output = f'{bucket}/exported'
    said = command('dataset', 'export', '--format', 'tfrecord', '--output', output)
    assert 'examples of the split train' in said
    assert {name.split('/')[0] for name in storage.list_files(output)} == {
        'train',
        'validation',
        'test',
    }


def test_a_version_is_extended_listed_verified_and_pruned(command, bucket):
    built = current_dataset(f'{bucket}/runs', 'shops').manifest.fingerprint
    day, extendable = '2020-01-07', ('--set', 'dataset.extendable=true')
    said = command(
        *('dataset', 'extend', '--split', 'later', '--days', day, day),
        *('--inputs', f'{bucket}/day-7/part-0.csv', *extendable),
    )
    assert 'as the split later' in said
    extended = current_dataset(f'{bucket}/runs', 'shops').manifest.fingerprint
    assert extended[:12] in command('dataset', 'list')
    assert 'are as they were built' in command('dataset', 'verify')
    command('dataset', 'build', '--without-extensions', *extendable)
    assert current_dataset(f'{bucket}/runs', 'shops').manifest.fingerprint == built
    assert extended in command('dataset', 'prune', '--recent', '0', '--yes')
    assert not storage.exists(f'{bucket}/runs/datasets/shops/{extended}')

"""`mdctr run` and `mdctr compare` with their log and their workspace on an object store."""

import contextlib
import io
import os

import pytest

from mdctr import storage
from mdctr.dataset_versions import read_current
from mdctr.exported_model import check_files, read_model_json
from mdctr.pushed_models import complete_versions, version_number
from mdctr.workspace import dataset_directory
from pipeline.cli.main import main
from tests import yaml_files
from tests.components.continual import daily_log
from tests.object_store import new_bucket
from tests.pipeline.own_log import log_lines, write_config, write_log
from tests.pipeline.steps_here import run_steps_here

DAY = 86400
FIRST = 1577836800  # 2020-01-01
SMALL = {
    'model': {'name': 'mlp', 'embedding_dim': 4, 'hidden_units': [8]},
    'batch_size': 64,
    'epochs': 1,
    'learning_rate': 0.01,
}
LARGE_STEPS = {'epochs': 1, 'batch_size': 256, 'checkpoint_steps': 1000}


@pytest.fixture(scope='module')
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope='module')
def bucket_of_module(s3_server, patch):
    with new_bucket(s3_server, patch) as url:
        yield url


class Shops:
    """A log of shops with a file for each day, and a workspace, both in a bucket.

    Attributes:
        first: State after the first run.
        again: After a second one.
        said_again: What that printed.
        day_more: After a run with another day.
        rolled_back: After a rollback and another run.
        said_after_rollback: What that printed.
    """

    first: 'State'
    again: 'State'
    said_again: str
    day_more: 'State'
    rolled_back: 'State'
    said_after_rollback: str

    def __init__(self, bucket: str, folder):
        self.config, self.log = str(folder / 'shops.yaml'), storage.join(bucket, 'log')
        self.workspace = storage.join(bucket, 'runs')
        write_config(
            folder / 'shops.yaml',
            storage.join(self.log, '*.csv'),
            train=SMALL,
            evaluate={'max_gauc_drop': 1.0, 'bootstrap_replicates': 0},
        )
        self.header, *self.rows = log_lines(1400, days=7)

    def add_days(self, *days: int) -> None:
        for day in days:
            rows = [
                row for row in self.rows if (int(row.split(',')[3]) - FIRST) // DAY == day - 1
            ]
            path = storage.join(self.log, f'2020-01-{day:02d}.csv')
            storage.write_text(path, '\n'.join([self.header, *rows]) + '\n')

    def command(self, *words: str, last_day: int) -> str:
        """The output of a command on the dataset that is tested on `last_day`."""
        days = {
            'train': f'[2020-01-01, 2020-01-{last_day - 2:02d}]',
            'validation': f'[2020-01-{last_day - 1:02d}, 2020-01-{last_day - 1:02d}]',
            'test': f'[2020-01-{last_day:02d}, 2020-01-{last_day:02d}]',
        }
        settings = [f'dataset.split.days.{split}={value}' for split, value in days.items()]
        changes = [word for setting in settings for word in ('--set', setting)]
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            assert main([*words, self.config, '--workspace', self.workspace, *changes]) == 0
        return output.getvalue()

    def state(self) -> 'State':
        return State(self.workspace)


class State:
    """What a workspace contains at a time.

    Attributes:
        files: Digests of all files, by name.
        runs: Names of the training runs.
        versions: Directories of the pushed versions, by number.
        dataset: Fingerprint of the current version.
    """

    def __init__(self, workspace: str):
        self.files = {
            name: storage.file_digest(storage.join(workspace, name))
            for name in storage.list_files(workspace)
        }
        self.runs = {name.split('/')[2] for name in self.files if name.startswith('training/')}
        versions = complete_versions(storage.join(workspace, 'models'), 'shops')
        self.versions = {version_number(path): path for path in versions}
        self.dataset = read_current(dataset_directory(workspace, 'shops')).version


@pytest.fixture(scope='module')
def shops(bucket_of_module, tmp_path_factory, patch):
    """A run, another one, one with a day more, and one after a rollback."""
    run_steps_here(patch, tmp_path_factory.mktemp('steps'))
    patch.chdir(tmp_path_factory.mktemp('here'))
    shops = Shops(bucket_of_module, tmp_path_factory.mktemp('config'))
    shops.add_days(1, 2, 3, 4, 5, 6)
    shops.command('run', last_day=6)
    shops.first = shops.state()
    shops.said_again = shops.command('run', last_day=6)
    shops.again = shops.state()
    shops.add_days(7)
    shops.command('run', last_day=7)
    shops.day_more = shops.state()
    assert main(['models', 'rollback', 'shops', '--workspace', shops.workspace]) == 0
    shops.said_after_rollback = shops.command('run', last_day=7)
    shops.rolled_back = shops.state()
    return shops


def test_a_run_pushes_a_version_and_leaves_nothing_on_the_local_disk(shops):
    assert list(shops.first.versions) == [1]
    check_files(shops.first.versions[1])
    assert os.listdir() == []


def test_a_second_run_has_nothing_to_do_and_writes_nothing(shops):
    assert 'shops version 1 is this model already' in shops.said_again
    assert shops.again.files == shops.first.files


def test_a_run_with_a_day_more_pushes_a_second_version(shops):
    assert shops.day_more.dataset != shops.first.dataset
    assert shops.first.runs < shops.day_more.runs and len(shops.day_more.runs) == 2
    assert list(shops.day_more.versions) == [2, 1]
    pushed = read_model_json(shops.day_more.versions[2])
    assert pushed['dataset']['fingerprint'] == shops.day_more.dataset


def test_a_run_with_a_day_more_is_compared_with_the_served_version(shops):
    (evaluation,) = (
        storage.read_json(storage.join(shops.workspace, name))
        for name in shops.day_more.files.keys() - shops.first.files.keys()
        if storage.name(name) == 'metrics.json'
    )
    assert evaluation['baseline']['directory'] == shops.first.versions[1]


def test_a_model_that_was_rolled_back_is_not_pushed_again_by_another_run(shops):
    assert 'this model was version 2 of shops, and was rolled back' in shops.said_after_rollback
    assert list(shops.rolled_back.versions) == [3, 2, 1]
    assert shops.rolled_back.runs == shops.day_more.runs


def test_methods_are_compared_and_a_finished_comparison_is_read_back(shops):
    arguments = ('compare', '--models', 'mlp star', '--seeds', '1')
    table = shops.command(*arguments, last_day=7)
    assert 'mlp' in table and 'star' in table
    before = shops.state().files
    assert 'compare/shops/table.md' in before
    assert shops.command(*arguments, last_day=7) == table
    assert shops.state().files == before


def test_a_continual_pipeline_trains_two_periods(bucket, tmp_path, monkeypatch, capsys):
    run_steps_here(monkeypatch, tmp_path)
    for number in (1, 2, 3):
        daily_log.write_day(tmp_path / 'log', number, rows=300)
    storage.upload(str(tmp_path / 'log'), storage.join(bucket, 'log'))
    values = daily_log.settings(tmp_path / 'log')
    values['dataset']['inputs'] = [storage.join(bucket, 'log', '{day}.csv')]
    for section in ('source_train', 'base_train', 'target_train'):
        values['continual'][section] = {**values['continual'][section], **LARGE_STEPS}
    yaml_files.write(tmp_path / 'shops.yaml', values)
    workspace = storage.join(bucket, 'runs')
    command = ['run', str(tmp_path / 'shops.yaml'), '--workspace', workspace]
    assert main(command) == 0
    models = storage.join(workspace, 'models')
    versions = {
        model: list(map(version_number, complete_versions(models, f'shops-{model}')))
        for model in ('source', 'small')
    }
    assert versions == {'source': [2, 1], 'small': [2, 1]}
    before = pushed_and_trained(workspace)
    capsys.readouterr()
    assert main(command) == 0
    assert 'No new days; nothing to do.' in capsys.readouterr().out
    assert pushed_and_trained(workspace) == before


def pushed_and_trained(workspace: str) -> list[str]:
    """The files of all models and training runs."""
    return [
        name
        for name in storage.list_files(workspace)
        if name.startswith(('models/', 'training/'))
    ]


@pytest.mark.slow
def test_a_run_with_a_process_for_each_step_leaves_no_secret_and_nothing_local(
    bucket, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'a secret that nobody may see')
    write_log(tmp_path / 'log.csv', rows=3000)
    config = write_config(tmp_path / 'shops.yaml', tmp_path / 'log.csv')
    workspace = storage.join(bucket, 'runs')
    assert main(['run', config, '--workspace', workspace]) == 0
    output = capfd.readouterr()
    assert 'Pushed shops version 1 to' in output.out
    assert 'a secret that nobody may see' not in output.out + output.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ['log.csv', 'shops.yaml']
    for name in storage.list_files(workspace):
        content = storage.read_bytes(storage.join(workspace, name))
        assert b'a secret that nobody may see' not in content, name

"""Every command in a workspace that is read-only, forbidden or full ends with one sentence."""

import errno
import pathlib
import re
import shutil

import pytest

from beam_jobs.build import fingerprint
from mdctr import storage
from mdctr.workspace import models_directory
from pipeline.cli.main import main
from tests.exported_copy import copy_with_other_bytes
from tests.full_disk import refuse_writes, small_files
from tests.pipeline.own_log import write_config, write_log
from trainer.export.publish import publish, pushing

TRAIN = {
    'model': {'name': 'star', 'embedding_dim': 2, 'hidden_units': [2]},
    'batch_size': 256,
    'epochs': 1,
}
WRITERS = {
    'build': 'dataset build {config} --set dataset.seed=2',
    'validate': 'dataset validate {config}',
    'extend': 'dataset extend {config} --split next --days 2020-01-07 2020-01-07 '
    '--inputs {folder}/day-7.csv',
    'export': 'dataset export {config} --format tfrecord --output {workspace}/exported',
    'simulate': 'dataset simulate alibaba-19 --rows 1000',
    'train': 'train {config} --again',
    'evaluate': 'evaluate {config} --model-directory {model} --output {workspace}/again',
    'push': 'push {config} --model-directory {model} --evaluation {workspace}/evaluation',
    'compare': 'compare {config} --models mlp --seeds 1',
    'add-domain': 'add-domain {config} --from {model} --domain toys --output {workspace}/new',
    'rollback': 'models rollback toys',
}
# What a command that failed may leave: leases, and the state from which it resumes.
IN_PROGRESS = re.compile(
    r'(^|/)lease(s/|\.)|\.lock\.|/checkpoints/|/logs/|/run\.json$|/(key|simulation)\.json$'
)
LEASE = re.compile(r'\.lock\.\d+$')  # the next one replaces it
READERS = ['dataset list --all', 'dataset verify --all', 'models list shops']


class Shop:
    """A log, its configuration, and a workspace with a dataset, a model and its evaluation."""

    def __init__(self, folder: pathlib.Path, workspace: pathlib.Path):
        (self.model,) = map(str, workspace.glob('training/shops/*/export'))
        self.words = {
            'folder': folder,
            'config': folder / 'shops.yaml',
            'workspace': workspace,
            'model': self.model,
        }

    def run(self, command: str) -> int:
        """The exit status of a command."""
        words = command.format(**self.words).split()
        return main([*words, '--workspace', str(self.words['workspace'])])


@pytest.fixture(scope='module')
def original(tmp_path_factory) -> Shop:
    folder = tmp_path_factory.mktemp('shops')
    write_log(folder / 'log.csv', rows=1500)
    head, *lines = (folder / 'log.csv').read_text().splitlines()
    later = [line.split(',') for line in lines[-100:]]
    rows = [','.join([*row[:3], str(int(row[3]) + 86400), *row[4:]]) for row in later]
    (folder / 'day-7.csv').write_text('\n'.join([head, *rows]) + '\n')
    evaluate = {'bootstrap_replicates': 0, 'min_auc': 0.1}
    config = write_config(
        folder / 'shops.yaml', folder / 'log.csv', train=TRAIN, evaluate=evaluate
    )
    workspace = ['--workspace', str(folder / 'runs')]
    extendable = ['--set', 'dataset.extendable=true']
    assert main(['dataset', 'build', config, *extendable, *workspace]) == 0
    assert main(['train', config, *workspace]) == 0
    shop = Shop(folder, folder / 'runs')
    command = WRITERS['evaluate'].replace('again', 'evaluation')
    assert shop.run(command) == 0
    publish_twice(shop, 'toys', str(folder / 'another'))
    return shop


def publish_twice(shop: Shop, name: str, copy: str) -> None:
    """Pushes the model and a copy of it with other bytes, which a rollback withdraws."""
    models = models_directory(str(shop.words['workspace']))
    for model in (shop.model, copy_with_other_bytes(shop.model, copy)):
        with pushing(models, name):
            publish(models, name, model)


@pytest.fixture
def shop(original, tmp_path) -> Shop:
    """A copy of its own."""
    shutil.copytree(original.words['workspace'], tmp_path / 'runs')
    return Shop(original.words['folder'], tmp_path / 'runs')


def files(shop: Shop) -> dict[str, bytes]:
    """All files of the workspace, those that readers ignore included."""
    root = pathlib.Path(shop.words['workspace'])
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob('*')
        if path.is_file()
    }


def one_sentence(capsys) -> str:
    """The sentence with which a command ended; `compare` also names each run that failed."""
    found = capsys.readouterr().err
    assert 'Traceback' not in found
    first, *others = [line for line in found.splitlines() if line.startswith('mdctr: ')]
    assert others in ([], ['mdctr: No run of the comparison finished.'])
    return first


@pytest.mark.parametrize('number', [errno.EROFS, errno.EACCES])
@pytest.mark.parametrize('name', WRITERS)
def test_a_workspace_that_cannot_be_written(shop, name, number, monkeypatch, capsys):
    before = files(shop)
    refuse_writes(monkeypatch, number)
    assert shop.run(WRITERS[name]) == 2
    assert re.search('[Rr]ead-only|Permission denied', one_sentence(capsys))
    assert files(shop) == before


@pytest.mark.parametrize('command', READERS)
def test_a_command_that_reads_needs_no_write(shop, command, monkeypatch):
    refuse_writes(monkeypatch, errno.EROFS)
    assert shop.run(command) == 0


@pytest.mark.parametrize('name', ['build', 'extend'])
def test_an_unwritable_workspace_is_noticed_before_the_log_is_read(shop, name, monkeypatch):
    read = []
    monkeypatch.setattr(fingerprint, 'checksum', lambda path: read.append(path) or (0, ''))
    refuse_writes(monkeypatch, errno.EROFS)
    assert shop.run(WRITERS[name]) == 2
    assert not read


def test_an_unwritable_workspace_is_noticed_before_the_examples_are_read(shop, monkeypatch):
    read = []
    for name in ('open_file', 'file_digest'):
        monkeypatch.setattr(storage, name, read.append)
    refuse_writes(monkeypatch, errno.EROFS)
    for name in ('validate', 'train', 'evaluate', 'push', 'compare', 'export'):
        assert shop.run(WRITERS[name]) == 2
    assert not read


def check_full_disk(shop, name, limit, capsys):
    """A command in whose files there is room for `limit` bytes each."""
    before = files(shop)
    with small_files(limit):
        assert shop.run(WRITERS[name]) == 2
    assert 'cannot be read or written: File too large' in one_sentence(capsys)
    after = files(shop)
    kept = {path: data for path, data in before.items() if not LEASE.search(path)}
    assert {path: after.get(path) for path in kept} == kept
    assert not [path for path in after.keys() - before.keys() if not IN_PROGRESS.search(path)]


# The model has every domain of the dataset: tests/trainer/test_add_domain.py
# fills the disk of `add-domain`.
FILLING = [name for name in WRITERS if name != 'add-domain']


@pytest.mark.parametrize('name', FILLING)
def test_a_disk_that_is_full(shop, name, capsys):
    check_full_disk(shop, name, 1500, capsys)


@pytest.mark.slow
@pytest.mark.parametrize('limit', [100, 3000])  # the first file is too large, or a later one
@pytest.mark.parametrize('name', FILLING)
def test_a_command_succeeds_once_the_disk_has_room(shop, name, limit, capsys):
    check_full_disk(shop, name, limit, capsys)
    assert shop.run(WRITERS[name]) == 0

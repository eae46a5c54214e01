"""`mdctr dataset`: fetch, build, extend, validate, list, prune, verify, simulate."""

import json
import pathlib

import pytest

from mdctr import storage
from mdctr.dataset_versions import read_current
from mdctr.workspace import current_dataset
from pipeline.cli.main import main
from tests.beam_jobs.raw_data import public_data
from tests.pipeline.own_log import write_config, write_log


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> pathlib.Path:
    """A log of six days, and its last rows a day later, and two days later with another age."""
    folder = tmp_path_factory.mktemp('shops')
    write_log(folder / 'log.csv', rows=3000)
    write_config(folder / 'shops.yaml', folder / 'log.csv')
    head, *lines = (folder / 'log.csv').read_text().splitlines()
    rows = [line.split(',') for line in lines[-300:]]
    for day, age in ((7, None), (8, '70')):
        later = [
            [*row[:3], str(int(row[3]) + (day - 6) * 86400), row[4], age or row[5], row[6]]
            for row in rows
        ]
        text = '\n'.join([head, *(','.join(row) for row in later)])
        (folder / f'day-{day}.csv').write_text(text + '\n')
    return folder


def dataset(folder: pathlib.Path, command: str, *arguments: str) -> int:
    """Runs `mdctr dataset COMMAND` on the configuration of `folder`."""
    return main(
        [
            *('dataset', command, str(folder / 'shops.yaml')),
            *('--workspace', str(folder / 'runs'), *arguments),
        ]
    )


def extend(folder: pathlib.Path, split: str, day: str, name: str) -> int:
    inputs = ('--inputs', str(folder / name))
    return dataset(folder, 'extend', '--split', split, '--days', day, day, *inputs)


@pytest.fixture(scope='module')
def extended(folder) -> pathlib.Path:
    """`folder` with a dataset that was extended by `day-7.csv` and `day-8.csv`."""
    assert dataset(folder, 'build', '--set', 'dataset.extendable=true') == 0
    assert extend(folder, 'next', '2020-01-07', 'day-7.csv') == 0
    assert extend(folder, 'served', '2020-01-08', 'day-8.csv') == 0
    return folder


def test_a_dataset_must_be_extendable(folder, tmp_path, capsys):
    workspace = ('--workspace', str(tmp_path))
    assert dataset(folder, 'build', *workspace) == 0
    assert (
        dataset(
            folder,
            'extend',
            *workspace,
            *('--split', 'next', '--days', '2020-01-07', '2020-01-07'),
            *('--inputs', str(folder / 'day-7.csv')),
        )
        == 2
    )
    assert 'cannot be extended' in capsys.readouterr().err


def test_a_split_whose_name_is_a_path_is_not_added(extended, capsys):
    before = sorted(extended.rglob('*'))
    assert extend(extended, '../../x', '2020-01-09', 'day-8.csv') == 2
    assert "'../../x' is not a valid name of a split" in capsys.readouterr().err
    leases = str(extended / 'runs' / 'datasets' / 'shops' / 'leases')
    after = [path for path in sorted(extended.rglob('*')) if leases not in str(path)]
    assert after == [path for path in before if leases not in str(path)]


def test_extend_adds_days(extended):
    manifest = current_dataset(str(extended / 'runs'), 'shops').manifest
    assert sum(manifest.splits['next'].examples.values()) == 300
    assert manifest.rows.read == 3600
    assert len(manifest.extends) == 2


def test_a_build_keeps_the_added_days_and_prints_their_version(extended, capsys):
    current = current_dataset(str(extended / 'runs'), 'shops')
    assert dataset(extended, 'build', '--set', 'dataset.extendable=true') == 0
    assert f'The dataset: {current}' in capsys.readouterr().out


def test_versions_are_listed_verified_and_pruned(folder, tmp_path, capsys):
    workspace = ('--workspace', str(tmp_path))
    for seed in (1, 2):
        assert dataset(folder, 'build', *workspace, '--set', f'dataset.seed={seed}') == 0
    first, current = list_versions_by_age(tmp_path)
    capsys.readouterr()
    assert dataset(folder, 'list', *workspace, '--recent', '1') == 0
    _, _, newest, oldest = capsys.readouterr().out.splitlines()
    assert newest.startswith(current[:12]) and newest.endswith('current; recent')
    assert oldest.startswith(first[:12]) and oldest.endswith('can be removed')
    assert dataset(folder, 'verify', *workspace) == 0
    assert 'are as they were built' in capsys.readouterr().out
    directory = tmp_path / 'datasets' / 'shops'
    for option, exists in (((), True), (('--yes',), False)):
        assert main(['dataset', 'prune', '--all', '--recent', '1', *workspace, *option]) == 0
        assert str(directory / first) in capsys.readouterr().out
        assert (directory / first).exists() == exists
    assert dataset(folder, 'validate', *workspace) == 0


def list_versions_by_age(workspace) -> list[str]:
    current = read_current(str(workspace / 'datasets' / 'shops'))
    assert current is not None
    return list(current.since)


def test_a_configuration_or_all_datasets_but_not_both(tmp_path, capsys):
    for arguments in ((), ('movielens', '--all')):
        assert main(['dataset', 'list', *arguments, '--workspace', str(tmp_path)]) == 2
        assert 'Name a configuration, or use --all' in capsys.readouterr().err


def test_a_dataset_and_served_rows_like_it_are_valid(extended):
    assert dataset(extended, 'validate') == 0
    assert dataset(extended, 'validate', '--serving', 'next') == 0


def test_served_features_that_differ_from_training_are_skew(extended, capsys):
    assert dataset(extended, 'validate', '--serving', 'served') == 2
    error = capsys.readouterr().err
    assert 'served: age drifted from train' in error and error.count('\n') == 1


def test_a_simulated_log_is_built_and_its_ceiling_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['dataset', 'simulate', 'iaac-300', '--rows', '20000']) == 0
    assert 'their true click probabilities have AUC 0.' in capsys.readouterr().out
    assert main(['dataset', 'simulate', 'iaac-300', '--rows', '30000']) == 2
    assert 'already contains another log' in capsys.readouterr().err
    assert main(['dataset', 'build', 'iaac-300', '--set', 'dataset.user_buckets=2']) == 0
    manifest = current_dataset(str(tmp_path / 'runs'), 'iaac-300').manifest
    truth = json.loads(
        (tmp_path / 'runs' / 'simulated' / 'iaac-300' / 'truth' / 'ceiling.json').read_text()
    )
    assert manifest.source['ceiling'] == truth


def test_raw_data_is_fetched_onto_an_object_store(bucket, tmp_path, monkeypatch, capsys):
    cached = public_data('movielens-100k')
    monkeypatch.chdir(tmp_path)
    storage.upload(cached, bucket + '/runs/cache/movielens-100k')  # rather than once more
    assert main(['dataset', 'fetch', 'movielens', '--workspace', bucket + '/runs']) == 0
    paths = capsys.readouterr().out.split()
    assert paths and all(path.startswith(bucket + '/runs/cache/') for path in paths)
    assert not list(tmp_path.iterdir())


def test_a_log_is_simulated_onto_an_object_store(bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ['dataset', 'simulate', 'taobao-10', '--rows', '1000', '--workspace', bucket]
    assert main(arguments) == 0
    files = storage.list_files(storage.join(bucket, 'simulated', 'taobao-10'))
    assert 'truth/ceiling.json' in files
    assert any(name.startswith('log/') for name in files)
    assert not list(tmp_path.iterdir())
    said = capsys.readouterr().out
    assert main(arguments) == 0  # nothing is left to do
    assert capsys.readouterr().out == said

"""The same configuration and rows give the same bytes, on any runner and in any order."""

import numpy as np
import pytest

from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import SamplingConfig, SplitConfig
from mdctr import storage
from mdctr.dataset import open_dataset
from tests.beam_jobs.build.test_build import config, random_log
from tests.beam_jobs.log_in_memory import TableReader
from tests.processes import with_tests

VARIANTS = {
    'sampled': {
        'sampling': SamplingConfig(ctr_ratio=(0.2, 0.5), popularity_exponent=0.5),
        'split': SplitConfig(by='time', fractions=(0.7, 0.1, 0.2)),
    },
    'down-sampled': {
        'sampling': SamplingConfig(keep_negatives=0.5),
        'split': SplitConfig(by='user', fractions=(0.7, 0.1, 0.2)),
    },
    'growing': {'split': SplitConfig(by='periods', periods=2, period_days=3)},
}


def checksums(directory: str) -> dict[str, str]:
    """The SHA-256 of every file of the current version, by its name in the dataset."""
    dataset = open_dataset(directory)
    names = [*dataset.manifest.files, 'manifest.json']
    return {name: storage.file_digest(dataset.path(name)) for name in names}


def build(
    directory,
    variant: str,
    shards: int = 3,
    batch: int = 200,
    shuffle: bool = False,
    beam_args=(),
) -> dict[str, str]:
    """Builds in `directory` and returns the checksum of every file."""
    table = random_log(1500)
    clicks = table['click'].to_numpy().copy()
    clicks[[5, 700, 1400]] = 7  # rejected
    table = table.set_column(table.column_names.index('click'), 'click', [clicks])
    table = table.append_column('source', [['log.csv'] * 1500]).append_column(
        'line', [np.arange(1500) + 1]
    )
    if shuffle:
        table = table.take(np.random.default_rng(0).permutation(1500))
    build_dataset(
        config(**VARIANTS[variant]),
        'test',
        str(directory),
        str(directory),
        beam_args,
        progress=False,
        reader=TableReader(table, shards, batch),
    )
    return checksums(str(directory))


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
    """By variant, the checksums of its build in memory."""
    found = {
        variant: build(tmp_path_factory.mktemp(variant) / 'dataset', variant)
        for variant in VARIANTS
    }
    for files in found.values():
        assert len([name for name in files if name.startswith('examples/')]) == 9
        assert any(name.startswith('rejected') for name in files)
    return found


@pytest.fixture
def workers_import_tests(monkeypatch):
    """Workers in other processes must find the reader of these tests."""
    monkeypatch.setenv('PYTHONPATH', with_tests()['PYTHONPATH'])


@pytest.mark.parametrize('variant', VARIANTS)
def test_other_shards_batches_and_order_of_rows(expected, tmp_path, variant):
    found = expected[variant]
    assert build(tmp_path / 'one', variant, shards=1, batch=10_000) == found
    assert build(tmp_path / 'two', variant, shards=11, batch=17, shuffle=True) == found


def test_another_seed_gives_other_bytes(tmp_path):
    one, other = (
        {
            name: value
            for name, value in checksums_of_seed(tmp_path, seed).items()
            if name.startswith('examples/')
        }
        for seed in (1, 2)
    )
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)


def checksums_of_seed(tmp_path, seed: int) -> dict[str, str]:
    directory = str(tmp_path / str(seed))
    build_dataset(
        config(seed=seed),
        'test',
        directory,
        directory,
        progress=False,
        reader=TableReader(random_log(500)),
    )
    return checksums(directory)


@pytest.mark.parametrize('mode', ['multi_processing', 'multi_threading'])
@pytest.mark.parametrize('variant', ['sampled', 'growing'])
def test_two_workers(expected, tmp_path, workers_import_tests, variant, mode):
    beam_args = [f'--direct_running_mode={mode}', '--direct_num_workers=2']
    assert build(tmp_path / 'dataset', variant, beam_args=beam_args) == expected[variant]

"""The same configuration and rows give the same bytes, on any runner and in any order."""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from log_in_memory import TableReader
from test_build import config, random_log

from beam_jobs.build import build_dataset
from beam_jobs.config import SamplingConfig, SplitConfig

VARIANTS = {
    'sampled': {'sampling': SamplingConfig(ctr_ratio=(0.2, 0.5), popularity=0.5),
                'split': SplitConfig(by='time', fractions=(0.7, 0.1, 0.2))},
    'down-sampled': {'sampling': SamplingConfig(keep_negatives=0.5),
                     'split': SplitConfig(by='user', fractions=(0.7, 0.1, 0.2))},
    'growing': {'split': SplitConfig(by='periods', periods=2, period_days=3)},
}


def checksums(directory: str) -> dict[str, str]:
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, 'rb') as file:
                found[os.path.relpath(path, directory)] = hashlib.sha256(
                    file.read()).hexdigest()
    return found


def build(directory, variant: str, shards: int = 3, batch: int = 200, shuffle: bool = False,
          beam_args=()) -> dict[str, str]:
    """Builds in `directory` and returns the checksum of every file."""
    table = random_log(1500)
    clicks = table['click'].to_numpy().copy()
    clicks[[5, 700, 1400]] = 7  # rejected
    table = table.set_column(table.column_names.index('click'), 'click', [clicks])
    table = table.append_column('source', [['log.csv'] * 1500]).append_column(
        'line', [np.arange(1500) + 1])
    if shuffle:
        table = table.take(np.random.default_rng(0).permutation(1500))
    build_dataset(config(**VARIANTS[variant]), 'test', str(directory), str(directory),
                  beam_args, progress=False, reader=TableReader(table, shards, batch))
    return checksums(str(directory))


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
    """By variant, the checksums of its build in memory."""
    found = {variant: build(tmp_path_factory.mktemp(variant) / 'dataset', variant)
             for variant in VARIANTS}
    for files in found.values():
        assert len([name for name in files if name.endswith('.tfrecord')]) == 9
        assert any(name.startswith('rejected') for name in files)
    return found


@pytest.fixture
def workers_import_tests(monkeypatch):
    """Workers in other processes must find the reader of these tests."""
    path = os.path.dirname(__file__)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(
        filter(None, [path, os.environ.get('PYTHONPATH')])))


@pytest.mark.parametrize('variant', VARIANTS)
def test_other_shards_batches_and_order_of_rows(expected, tmp_path, variant):
    found = expected[variant]
    assert build(tmp_path / 'one', variant, shards=1, batch=10_000) == found
    assert build(tmp_path / 'two', variant, shards=11, batch=17, shuffle=True) == found


def test_another_seed_gives_other_bytes(tmp_path):
    one, other = ({name: value for name, value in checksums_of_seed(tmp_path, seed).items()
                   if name.endswith('.tfrecord')} for seed in (1, 2))
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)


def checksums_of_seed(tmp_path, seed: int) -> dict[str, str]:
    directory = str(tmp_path / str(seed))
    build_dataset(config(seed=seed), 'test', directory, directory, progress=False,
                  reader=TableReader(random_log(500)))
    return checksums(directory)


@pytest.mark.parametrize('variant', ['sampled', 'growing'])
def test_two_worker_processes(expected, tmp_path, workers_import_tests, variant):
    found = build(tmp_path / 'dataset', variant, beam_args=[
        '--direct_running_mode=multi_processing', '--direct_num_workers=2'])
    assert found == expected[variant]


def test_portable_runner_with_job_server_and_worker_pool(expected, tmp_path,
                                                         workers_import_tests):
    with _job_server(tmp_path) as (job_endpoint, worker_pool):
        found = build(tmp_path / 'dataset', 'sampled', beam_args=[
            '--runner=PortableRunner', f'--job_endpoint={job_endpoint}',
            '--environment_type=EXTERNAL', f'--environment_config={worker_pool}'])
    assert found == expected['sampled']


@contextlib.contextmanager
def _job_server(tmp_path):
    """Beam's job service and a pool of workers, each a process on a port of its own."""
    ports = [_free_port(), _free_port()]
    modules = ['apache_beam.runners.portability.local_job_service_main',
               'apache_beam.runners.worker.worker_pool_main']
    arguments = [[f'--port={ports[0]}', f'--staging_dir={tmp_path / "staging"}'],
                 [f'--service_port={ports[1]}']]
    # The worker pool starts workers as `python`, found on PATH.
    path = os.path.dirname(sys.executable) + os.pathsep + os.environ['PATH']
    processes = [subprocess.Popen([sys.executable, '-m', module, *given],
                                  env=os.environ | {'PATH': path}, start_new_session=True)
                 for module, given in zip(modules, arguments, strict=True)]
    try:
        for port in ports:
            _wait_for(port)
        yield tuple(f'localhost:{port}' for port in ports)
    finally:
        for process in processes:
            os.killpg(process.pid, 15)
            process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(('localhost', 0))
        return free.getsockname()[1]


def _wait_for(port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(('localhost', port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)

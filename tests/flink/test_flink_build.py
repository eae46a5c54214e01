"""A dataset built on a real Flink cluster has the bytes of the one built in memory.

Run by `make test-flink`. Needs Java 11 to 17, Maven, and about 4 GB of memory.
"""

import concurrent.futures
import hashlib
import time
from pathlib import Path

import apache_beam
import jars
import pytest
from cluster import FlinkCluster
from waiting_log import WaitingLog, dataset_config

from beam_jobs.build import build_dataset

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]

ROWS, SHARDS, BUCKETS = 20_000, 8, 8


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    """A session cluster of two task managers, ended with the tests."""
    try:
        jars.java()
        found = jars.find_jars(apache_beam.__version__)
    except jars.Missing as error:
        pytest.fail(str(error), pytrace=False)
    print(f'\nFlink {jars.FLINK}, job server of Beam {found.beam}, '
          f'Python SDK of Beam {apache_beam.__version__}')
    with FlinkCluster(tmp_path_factory.mktemp('flink'), found) as started:
        yield started


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
    """The checksums of the dataset, built in memory."""
    found = build(tmp_path_factory.mktemp('memory') / 'dataset')
    assert len([name for name in found if name.endswith('.tfrecord')]) >= 3
    return found


def build(directory: Path, gate: Path | None = None, beam_args=()) -> dict[str, str]:
    """Builds the dataset and returns the checksum of every file."""
    log = WaitingLog(ROWS, SHARDS, gate and str(gate))
    build_dataset(dataset_config(BUCKETS), 'drawn', str(directory), str(directory), beam_args,
                  progress=False, reader=log)
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in directory.rglob('*') if path.is_file()}


def test_the_same_bytes(expected, cluster, tmp_path):
    began = time.monotonic()
    try:
        found = build(tmp_path / 'dataset', beam_args=cluster.beam_args)
    except Exception:
        print(cluster.logs())
        raise
    print(f'\nBuilt on Flink in {time.monotonic() - began:.0f} seconds.')
    assert found == expected
    (job,) = cluster.ask('/jobs/overview')['jobs']
    assert job['state'] == 'FINISHED'
    assert not cluster.failures(job['jid'])


@pytest.mark.parametrize('moment', ['reading', 'writing'])
def test_a_task_manager_dies(expected, cluster, tmp_path, moment):
    """Killed in the middle of a build: the job restarts on the other, and ends as ever."""
    gate = tmp_path / 'gate'
    gate.mkdir()
    known = {job['jid'] for job in cluster.ask('/jobs/overview')['jobs']}
    directory = tmp_path / 'dataset'
    if moment == 'writing':
        (gate / 'open').touch()
        middle, pattern = Path(f'{directory}.building'), 'examples/**/*.tfrecord*'
    else:
        middle, pattern = gate, 'shard-*'
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        building = pool.submit(build, directory, gate, cluster.beam_args)
        try:
            wait_for(lambda: any(middle.glob(pattern)), building)
            (job,) = {job['jid'] for job in cluster.ask('/jobs/overview')['jobs']} - known
            at_work = cluster.running_on(job)
            cluster.kill_task_manager(1)
            print(f'\nKilled task-manager-1 while {moment}; at work were {sorted(at_work)}.')
        finally:
            (gate / 'open').touch()
        try:
            found = building.result(600)
        except Exception:
            print(cluster.logs())
            raise
    assert 'task-manager-1' in at_work
    assert found == expected
    assert cluster.ask(f'/jobs/{job}')['state'] == 'FINISHED'
    failures = cluster.failures(job)
    assert len(failures) >= 1
    print(f'It restarted {len(failures)} time(s): {failures[0].splitlines()[0]}')
    # As before, for the next test.
    cluster.start_task_manager(1)
    cluster.wait_for_task_managers(2)


def wait_for(reached, building: concurrent.futures.Future, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert not building.done(), building.result()
        assert time.monotonic() < deadline, 'the build never came so far'
        time.sleep(0.05)

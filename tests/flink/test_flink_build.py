"""A dataset built on a real Flink cluster has the bytes of the one built in memory.

Every worker has directories of its own, and the workspace is in an object store.

Run by `make test-flink`. Needs Java 11 to 17, Maven, and about 4 GB of memory.
"""

import concurrent.futures
import time
from pathlib import Path

import apache_beam
import pytest

from beam_jobs.build.pipeline import build_dataset
from mdctr import storage
from tests.beam_jobs.build.test_build_runners import checksums
from tests.flink import jars
from tests.flink.cluster import FlinkCluster
from tests.flink.waiting_log import WaitingLog, dataset_config
from tests.object_store import new_bucket

pytestmark = [pytest.mark.flink, pytest.mark.timeout(900)]

ROWS, SHARDS, BUCKETS = 20_000, 8, 8


@pytest.fixture(scope='module')
def workspace(s3_server):
    """The URL of a bucket that this process and the workers can reach."""
    with pytest.MonkeyPatch.context() as patch, new_bucket(s3_server, patch) as url:
        yield url


@pytest.fixture(scope='module')
def cluster(tmp_path_factory, workspace):
    """A session cluster of two task managers, ended with the tests."""
    try:
        jars.java()
        found = jars.find_jars()
    except jars.Missing as error:
        pytest.fail(str(error), pytrace=False)
    versions = jars.deployed()
    print(
        f'\nFlink {versions.flink}, job server of Beam {versions.beam}, '
        f'Python SDK of Beam {apache_beam.__version__}'
    )
    with FlinkCluster(tmp_path_factory.mktemp('flink'), found) as started:
        yield started


@pytest.fixture(scope='module')
def expected(tmp_path_factory):
    """The checksums of the dataset, built in memory."""
    found = build(str(tmp_path_factory.mktemp('memory') / 'dataset'))
    assert len([name for name in found if name.startswith('examples/')]) >= 3
    return found


def build(directory: str, gate: Path | None = None, beam_args=()) -> dict[str, str]:
    """Builds the dataset and returns the checksum of every file."""
    log = WaitingLog(ROWS, SHARDS, gate and str(gate))
    build_dataset(
        dataset_config(BUCKETS),
        'drawn',
        directory,
        '',
        beam_args,
        progress=False,
        reader=log,
    )
    return checksums(directory)


def test_a_build_on_flink_has_the_bytes_of_one_in_memory(expected, cluster, workspace):
    began = time.monotonic()
    try:
        found = build(f'{workspace}/dataset', beam_args=cluster.beam_args)
    except Exception:
        print(cluster.logs())
        raise
    print(f'\nBuilt on Flink in {time.monotonic() - began:.0f} seconds.')
    assert found == expected
    (job,) = cluster.ask('/jobs/overview')['jobs']
    assert job['state'] == 'FINISHED'
    assert not cluster.failures(job['jid'])


@pytest.mark.parametrize('moment', ['reading', 'writing'])
def test_a_build_survives_a_task_manager_that_dies(
    expected, cluster, workspace, tmp_path, moment
):
    """The job restarts on the other task manager and gives the same bytes."""
    gate = tmp_path / 'gate'
    gate.mkdir()
    known = {job['jid'] for job in cluster.ask('/jobs/overview')['jobs']}
    directory = f'{workspace}/dataset-{moment}'
    if moment == 'writing':
        (gate / 'open').touch()

    def reached() -> bool:
        if moment == 'reading':
            return any(gate.glob('shard-*'))
        return any('/examples/' in name for name in storage.list_files(directory))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        building = pool.submit(build, directory, gate, cluster.beam_args)
        try:
            wait_for(reached, building)
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

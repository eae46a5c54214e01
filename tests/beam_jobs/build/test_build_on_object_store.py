"""Workers that share nothing but an object store build the bytes of a build on a local disk."""

import io

import pyarrow.parquet as pq
import pytest

from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import SamplingConfig, SplitConfig, StatisticFeature
from mdctr import storage
from mdctr.errors import UserError
from tests.beam_jobs.build.test_build import FEATURES, config, random_log
from tests.beam_jobs.build.test_build_runners import checksums
from tests.beam_jobs.job_server import job_server

ROWS, PARTS = 1200, 3
STATISTIC = StatisticFeature(name='item_ctr', owner='item', group_by='item_id', buckets=4)


def build(log: str, directory: str, beam_args=(), rejected: float = 0.1) -> dict[str, str]:
    """Builds in `directory` and returns the SHA-256 of every file of the dataset."""
    settings = config(
        reader='generic',
        inputs=[log],
        features=[*FEATURES, STATISTIC],
        sampling=SamplingConfig(ctr_ratio=(0.2, 0.5), popularity_exponent=0.5),
        split=SplitConfig(by='time', fractions=(0.7, 0.1, 0.2)),
        max_rejected_fraction=rejected,
        extendable=True,
    )
    build_dataset(settings, 'test', directory, '', beam_args)
    return checksums(directory)


@pytest.fixture
def log(bucket):
    """A log in the bucket, in parts, two of whose rows are rejected."""
    table = random_log(ROWS)
    clicks = table['click'].to_numpy().copy()
    clicks[[5, 700]] = 7
    table = table.set_column(table.column_names.index('click'), 'click', [clicks])
    for part in range(PARTS):
        file = io.BytesIO()
        pq.write_table(table.slice(part * ROWS // PARTS, ROWS // PARTS), file)
        storage.write_bytes(f'{bucket}/log/part-{part}.parquet', file.getvalue())
    return f'{bucket}/log'


@pytest.fixture
def expected(log, tmp_path):
    """The checksums of the dataset, built in this process on the local disk."""
    found = build(log, str(tmp_path / 'dataset'))
    kinds = {name.partition('/')[0] for name in found}
    assert kinds > {'examples', 'log', 'rejected', 'statistics', 'vocabulary'}
    return found


def test_one_process_builds_the_same_bytes_on_an_object_store(expected, log, bucket):
    assert build(log, f'{bucket}/dataset') == expected
    assert not [name for name in storage.list_files(f'{bucket}/dataset') if 'staging' in name]


def test_workers_that_share_nothing_else_build_the_same_bytes(expected, log, bucket, tmp_path):
    with job_server(tmp_path) as beam_args:
        assert build(log, f'{bucket}/dataset', beam_args) == expected
    workers = list((tmp_path / 'workers').glob('worker-*'))
    assert len(workers) == 2
    for worker in workers:  # nothing is left there
        assert not [path for path in worker.rglob('*') if path.is_file()]


def test_an_error_of_a_worker_is_one_sentence_without_a_common_disk(log, bucket, tmp_path):
    with (
        job_server(tmp_path) as beam_args,
        pytest.raises(UserError, match='^2 of 1,200 rows of the log were rejected, more than'),
    ):
        build(log, f'{bucket}/dataset', beam_args, rejected=0)

"""The Beam pipeline that builds a dataset from the shards of a raw log.

    shards -> read, validate -> rows by user bucket  -> sort, split, summarize
                             -> summary of the log         |       -> merged: vocabularies,
                             -> rejected rows              |          boundaries, domains,
                                                           |          catalogue = the plan
                                                           |       -> rows by item bucket:
                                                           v          versions of the items
                                             histories, negatives, ids, example files

Rows pass from step to step through the runner's own shuffle, as compressed Arrow streams. A
worker holds one bucket of users in memory. What it needs to know of the whole log
(vocabularies, the plan, the catalogue) it reads from the staging directory of the dataset.
"""

import contextlib
import logging
from collections.abc import Sequence
from typing import Any

import apache_beam as beam

from beam_jobs.arrow_files import release_fetched
from beam_jobs.build import steps
from beam_jobs.build.content_digests import with_content_digests
from beam_jobs.build.directory import (
    building,
    check_writable_unless_current,
    complete_version,
    make_built_current,
    require_extensions_kept,
)
from beam_jobs.build.fingerprint import describe_source, fingerprint_of
from beam_jobs.build.job import Job
from beam_jobs.build.make_manifest import make_manifest, with_file_records
from beam_jobs.build.staging import done_directory
from beam_jobs.build.statistics import WriteStatistics, sample_rows
from beam_jobs.config import DatasetConfig
from beam_jobs.runner import log_progress, raise_user_errors, run_pipeline, warn_if_large
from mdctr import storage
from mdctr.dataset import Dataset
from mdctr.errors import UserError
from mdctr.leases import Lease
from mdctr.manifest import Manifest, write_manifest

logger = logging.getLogger(__name__)


def build_dataset(
    config: DatasetConfig,
    name: str,
    directory: str,
    cache: str,
    beam_args: Sequence[str] = (),
    progress: bool = True,
    reader: Any = None,
    without_extensions: bool = False,
) -> Dataset:
    """Builds a version of a dataset, unless it exists, and makes it current.

    The version is written to `<directory>/<fingerprint>/`. Other versions stay as they are, and
    so do their readers. If the version was extended, the extended version stays current.

    Args:
        config: The `dataset` section.
        name: Name of the configuration, for the manifest.
        directory: Directory of the dataset, in a workspace that all workers can reach.
        cache: Directory in which readers keep raw data that they fetch.
        beam_args: Beam options, such as `--runner`. Without a runner the pipeline runs in
            this process.
        progress: Whether to log the progress.
        reader: Reader of the raw log; the configuration's if absent.
        without_extensions: Make the version current even if splits have been added to it, or
            to another one, by extending the dataset.

    Returns:
        The version that is current afterwards.

    Raises:
        UserError: Invalid log, configuration or output directory; or the current version
            extends another one.
    """
    directory = storage.resolve(directory)
    check_writable_unless_current(directory, config)
    if reader is None:
        from beam_jobs.readers import make_reader

        reader = make_reader(config, cache)
    source = describe_source(config, reader)
    fingerprint = fingerprint_of(config, source)
    if not without_extensions:
        require_extensions_kept(directory, fingerprint)
    built = complete_version(directory, fingerprint)
    if built is not None:
        logger.info('%s is up to date', built)
    else:
        shards = list(reader.shards())
        if not shards:
            raise UserError('The log has no rows: check `inputs` of the dataset section.')
        with building(directory, fingerprint) as (staging, held):
            built = complete_version(directory, fingerprint)  # by another process
            if built is None:
                job = Job(config, storage.join(directory, fingerprint), staging, reader)
                run_job(job, shards, beam_args, progress)
                built = complete(job, make_manifest(job, name, fingerprint, source), held)
    with storage.reporting_errors(directory):
        return make_built_current(directory, built, without_extensions)


def run_job(job: Job, shards: Sequence[Any], beam_args: Sequence[str], progress: bool) -> None:
    """Runs the pipeline, which writes everything but the manifest."""
    size = sum(storage.size(path) for path in job.reader.files())
    warn_if_large(size, job.config.in_memory_gb, beam_args)
    with raise_user_errors(job.staging), _progress(job, len(shards), progress):
        run_pipeline(lambda pipeline: _dataset(pipeline, job, shards), beam_args)
    release_fetched()


def complete(job: Job, manifest: Manifest, held: Lease) -> Dataset:
    """Records the files of the version, removes the staging files and writes the manifest.

    Args:
        job: The build.
        manifest: The manifest, with the files of the version that is extended.
        held: The lease of the version.
    """
    manifest = with_file_records(job, manifest)
    manifest = with_content_digests(job, manifest)
    storage.remove_directory(storage.parent(job.staging))
    held.check()
    write_manifest(job.directory, manifest)
    return Dataset(job.directory, manifest)


def _progress(job: Job, shards: int, progress: bool) -> contextlib.AbstractContextManager[None]:
    staging, buckets = job.staging, job.config.user_buckets
    files = [
        ('shards read', done_directory(staging, 'read'), shards),
        ('buckets sorted', done_directory(staging, 'sorted'), buckets),
        ('buckets written', done_directory(staging, 'written'), buckets),
    ]
    return log_progress(files) if progress else contextlib.nullcontext()


def _dataset(pipeline: beam.Pipeline, job: Job, shards: Sequence[Any]) -> None:
    """Adds the steps to the pipeline, in the order in which rows pass them."""
    read = (
        pipeline
        | 'Shards' >> beam.Create(list(enumerate(shards)))
        | 'SpreadShards' >> beam.Reshuffle()
        | 'ReadShards'
        >> beam.ParDo(steps.ReadShard(job)).with_outputs('summary', 'rejected', main='rows')
    )
    log = (
        read.summary
        | 'MergeLogSummaries' >> beam.CombineGlobally(steps.MergeSummaries())
        | 'CheckLog' >> beam.Map(steps.check_log, job)
    )
    _ = (
        read.rejected
        | 'RejectedByBucket' >> beam.GroupByKey()
        | 'WriteRejected' >> beam.ParDo(steps.WriteRejected(job))
    )
    earlier = pipeline | 'EarlierRows' >> beam.Create(steps.earlier_rows(job))
    rows = (
        (read.rows, earlier)
        | 'WithEarlierRows' >> beam.Flatten()
        | 'RowsByBucket' >> beam.GroupByKey()
        | 'SortBuckets'
        >> beam.ParDo(steps.SortBucket(job), beam.pvalue.AsSingleton(log)).with_outputs(
            'summaries', 'items', main='buckets'
        )
    )
    summaries = (
        rows.summaries
        | 'MergeSummaries' >> beam.CombinePerKey(steps.MergeSummaries())
        | 'WriteSummaries' >> beam.Map(steps.write_summary, job)
    )
    plan = (
        pipeline
        | 'Start' >> beam.Create([None])
        | 'WritePlan'
        >> beam.Map(
            steps.write_plan, job, beam.pvalue.AsSingleton(log), beam.pvalue.AsIter(summaries)
        )
    )
    encoded_items = (
        rows.items
        | 'ItemsByBucket' >> beam.GroupByKey()
        | 'EncodeItems' >> beam.ParDo(steps.EncodeItems(job), beam.pvalue.AsSingleton(plan))
    )
    item_versions = (
        encoded_items
        | 'AllItems' >> beam.WithKeys(None)
        | 'TogetherItems' >> beam.GroupByKey()
        | 'MergeItems' >> beam.Map(steps.merge_item_versions, job)
    )
    batches = (
        rows.buckets
        | 'SpreadBuckets' >> beam.Reshuffle()
        | 'WriteExamples'
        >> beam.ParDo(
            steps.WriteExamples(job),
            beam.pvalue.AsSingleton(plan),
            beam.pvalue.AsSingleton(item_versions, default_value=None),
        )
    )
    _ = batches | 'Statistics' >> WriteStatistics(
        job.directory,
        sample_rows(job.config.split),
        reporting_errors=job.reporting_errors,
    )

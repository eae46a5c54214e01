"""The Beam job that builds a dataset: from the shards of a raw log to files of examples.

    shards -> read, check -> rows by bucket of users      -> sort, split, summarize
                          -> survey of the log              |        -> merged: vocabularies,
                          -> rejected rows                  |           boundaries, domains,
                                                            v           items = the plan
                                              histories, negatives, ids, example files

What moves through Beam is references to files, summaries and Arrow record batches. A bucket of
users is the most that a worker holds; everything else that it needs it maps from files, so the
workers share a file system.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.account import make_manifest, write_indexes
from beam_jobs.assemble import Assembler
from beam_jobs.atomic import read_arrow, write_arrow, write_text
from beam_jobs.bucket import codes, numbers, row_keys, sort_rows, values, with_earlier
from beam_jobs.config import DatasetConfig
from beam_jobs.dataset import Manifest, read_manifest, write_manifest
from beam_jobs.directory import is_built, local_path, put_in_place, writing
from beam_jobs.errors import UserError
from beam_jobs.fingerprint import describe_source, fingerprint_of
from beam_jobs.job import Job, log_directory
from beam_jobs.plan import Plan, Summary, make_plan, write_summary
from beam_jobs.readers.base import REJECTED
from beam_jobs.rows import DAY, check, row_schema
from beam_jobs.runner import plain_errors, progress_lines, run
from beam_jobs.shuffle import Part, Spill, load
from beam_jobs.splits import EARLIER, OUTSIDE, OneSplit, Splitter, day_number, within
from beam_jobs.statistics import WriteStatistics, sample_rows
from beam_jobs.survey import Survey
from beam_jobs.tally import bucket_summaries, feature_summaries, growth_summaries

log = logging.getLogger(__name__)


def build_dataset(config: DatasetConfig, name: str, directory: str, cache: str,
                  beam_args: Sequence[str] = (), progress: bool = True,
                  reader: Any = None) -> Manifest:
    """Builds the dataset that `config` describes, unless it is there already.

    The dataset appears in `directory` all at once; until then it grows in
    `<directory>.building`, which no reader takes for a dataset and the next build clears.

    Args:
        config: the `dataset` section.
        name: of the configuration, for the manifest.
        directory: where the dataset goes; on a file system that all workers see.
        cache: where readers keep fetched raw data.
        beam_args: ordinary Beam options, `--runner=...` among them. Without a runner the job
            runs in this process.
        progress: whether lines on standard error tell how far it is.
        reader: where the rows come from; absent, the configuration's.

    Returns:
        The manifest of the dataset.

    Raises:
        UserError: the log, the configuration or the directory does not do; one sentence.
    """
    directory = local_path(directory)
    if reader is None:
        from beam_jobs.readers import make_reader
        reader = make_reader(config, cache)
    source = describe_source(config, reader)
    fingerprint = fingerprint_of(config, source)
    if is_built(directory, fingerprint):
        log.info('%s is up to date', directory)
        return read_manifest(directory)
    building = directory + '.building'
    with writing(directory):
        shutil.rmtree(building, ignore_errors=True)
        os.makedirs(building)
    job = Job(config, building, os.path.join(building, 'staging'), reader)
    shards = list(reader.shards())
    if not shards:
        raise UserError('The log has no rows: check `inputs` of the dataset section.')
    with writing(directory):
        run_job(job, shards, beam_args, progress)
        manifest = make_manifest(config, building, job.staging, name, fingerprint, source)
        complete(job, manifest, directory)
    return manifest


def run_job(job: Job, shards: Sequence[Any], beam_args: Sequence[str], progress: bool) -> None:
    """Runs the pipeline; what it leaves is `complete` but for the manifest."""
    with plain_errors(job.staging), _progress(job, len(shards), progress):
        run(lambda pipeline: _dataset(pipeline, job, shards), beam_args)
    splits = list(Plan.read(job.staging).splits)
    write_indexes(job.config, job.directory, job.staging, splits)


def complete(job: Job, manifest: Manifest, directory: str) -> None:
    """Drops what is not part of the dataset, writes the manifest and moves it in place."""
    if job.config.extendable:
        os.rename(os.path.join(job.staging, 'bucket'), log_directory(job.directory))
    shutil.rmtree(job.staging)
    write_manifest(job.directory, manifest)
    put_in_place(job.directory, directory)


def _progress(job: Job, shards: int, wanted: bool) -> contextlib.AbstractContextManager:
    steps = [('shards read', 'log', shards), ('buckets sorted', 'bucket', job.config.buckets),
             ('buckets written', 'report', job.config.buckets)]
    return progress_lines(job.staging, steps) if wanted else contextlib.nullcontext()


def _dataset(pipeline: beam.Pipeline, job: Job, shards: Sequence[Any]) -> None:
    """The pipeline, in the order in which rows go through it."""
    read = (pipeline
            | 'Shards' >> beam.Create(list(enumerate(shards)))
            | 'SpreadShards' >> beam.Reshuffle()
            | 'ReadAndCheck' >> beam.ParDo(_ReadShard(job)).with_outputs(
                'survey', 'rejected', main='rows'))
    survey = (read.survey
              | 'MergeSurveys' >> beam.CombineGlobally(_Merge())
              | 'CheckSurvey' >> beam.Map(_checked_survey, job))
    _ = (read.rejected
         | 'RejectedByBucket' >> beam.GroupByKey()
         | 'WriteRejected' >> beam.ParDo(_WriteRejected(job)))
    earlier = pipeline | 'EarlierRows' >> beam.Create(_earlier_rows(job))
    rows = ((read.rows, earlier)
            | 'WithEarlier' >> beam.Flatten()
            | 'RowsByBucket' >> beam.GroupByKey()
            | 'SortAndSplit' >> beam.ParDo(
                _SortBucket(job), beam.pvalue.AsSingleton(survey)).with_outputs(
                    'summaries', main='buckets'))
    summaries = (rows.summaries
                 | 'MergeSummaries' >> beam.CombinePerKey(_Merge())
                 | 'WriteSummaries' >> beam.Map(_written_summary, job))
    plan = (pipeline
            | 'Start' >> beam.Create([None])
            | 'Plan' >> beam.Map(_planned, job, beam.pvalue.AsSingleton(survey),
                                 beam.pvalue.AsDict(summaries)))
    batches = (rows.buckets
               | 'SpreadBuckets' >> beam.Reshuffle()
               | 'WriteExamples' >> beam.ParDo(_WriteExamples(job),
                                               beam.pvalue.AsSingleton(plan)))
    _ = batches | 'Statistics' >> WriteStatistics(
        job.directory, sample_rows(job.config.split))


class _ReadShard(beam.DoFn):
    """Reads and checks a shard, and writes its rows by bucket."""

    def __init__(self, job: Job):
        self._job = job

    def process(self, numbered: tuple[int, Any]) -> Iterator[Any]:
        with self._job.telling_errors():
            yield from self._read(*numbered)

    def _read(self, number: int, shard: Any) -> Iterator[Any]:
        config = self._job.config
        surveys = _Merge()
        survey = surveys.create_accumulator()
        good_path = os.path.join(self._job.staging, 'log', f'{number:06d}.arrow')
        bad_path = os.path.join(self._job.staging, 'bad', f'{number:06d}.arrow')
        with (Spill(good_path, row_schema(config), config.buckets, 'user') as good_rows,
              Spill(bad_path, REJECTED, config.buckets, 'row') as bad_rows):
            for batch in _reading(self._job.reader, shard):
                good, bad = check(batch.rows, config)
                rejected = [some for some in (batch.rejected, bad) if some.num_rows]
                good_rows.write(good)
                for some in rejected:
                    bad_rows.write(pa.Table.from_batches([some]).cast(REJECTED)
                                   .combine_chunks().to_batches()[0])
                survey = surveys.add_input(survey, Survey.of(good, rejected, config))
        yield beam.pvalue.TaggedOutput('survey', surveys.extract_output(survey) or Survey())
        for part in bad_rows.parts:
            yield beam.pvalue.TaggedOutput('rejected', part)
        yield from good_rows.parts


def _reading(reader: Any, shard: Any) -> Iterator[Any]:
    """The batches of a shard; what the file system refuses is about the log here."""
    batches = iter(reader.read(shard))
    while True:
        try:
            batch = next(batches, None)
        except OSError as error:
            raise UserError(f'The log cannot be read: {error}; check the file, or leave it out '
                            'of `inputs`.') from error
        if batch is None:
            return
        yield batch


class _WriteRejected(beam.DoFn):
    """Writes a bucket of rejected rows, in the order of their places."""

    def __init__(self, job: Job):
        self._job = job

    def process(self, parts: tuple[int, Iterable[Part]]) -> None:
        with self._job.telling_errors():
            self._write(*parts)

    def _write(self, bucket: int, parts: Iterable[Part]) -> None:
        rows = load(Part(*part) for part in parts)
        order = pa.compute.sort_indices(rows, [(name, 'ascending') for name in (
            'source', 'line', 'reason', 'row')])
        text = rows.take(order).to_pandas().to_json(orient='records', lines=True,
                                                    force_ascii=False)
        name = f'part-{bucket:05d}-of-{self._job.config.buckets:05d}.jsonl'
        write_text(os.path.join(self._job.directory, 'rejected', name),
                   text.rstrip('\n') + '\n')


class _SortBucket(beam.DoFn):
    """Sorts a bucket, drops repeated impressions, gives rows their splits, summarizes."""

    def __init__(self, job: Job):
        self._job = job

    def process(self, parts: tuple[int, Iterable[Part]], survey: Survey) -> Iterator[Any]:
        with self._job.telling_errors():
            yield from self._sort(*parts, survey)

    def _sort(self, bucket: int, parts: Iterable[Part], survey: Survey) -> Iterator[Any]:
        table, duplicates = sort_rows(self._rows([Part(*part) for part in parts]))
        keys = row_keys(table)
        config = self._job.config
        splitter = _splitter(self._job, survey)
        split = splitter.assign(codes(table, 'user'), numbers(table, 'timestamp'), keys)
        wanted = _in_domains(table, config)
        split = np.where(wanted, split, np.int8(OUTSIDE))
        if self._job.extension:
            earlier = numbers(table, 'earlier')
            split = np.where(earlier, np.int8(EARLIER), split)
            table = table.drop(['earlier'])
        table = table.append_column('split', pa.array(split))
        table = table.append_column('key', pa.array(keys))
        path = os.path.join(self._job.staging, 'bucket', f'{bucket:06d}.arrow')
        write_arrow(path, table)
        if not self._job.extension:
            for summary in feature_summaries(table, splitter.names, config):
                yield beam.pvalue.TaggedOutput('summaries', summary)
        elif self._job.extension.trained is not None:
            trained = earlier & wanted & within(
                self._job.extension.trained, numbers(table, 'timestamp'), config.utc_offset)
            state = np.where(trained, 0, np.where(split == 0, 1, -1))
            for summary in growth_summaries(table, state, config):
                yield beam.pvalue.TaggedOutput('summaries', summary)
        for summary in bucket_summaries(bucket, table, duplicates, splitter.names, config):
            yield beam.pvalue.TaggedOutput('summaries', summary)
        yield bucket, path

    def _rows(self, parts: list[Part]) -> pa.Table:
        new = [part for part in parts if part.rows >= 0]
        rows = load(new) if new else row_schema(self._job.config).empty_table()
        if not self._job.extension:
            return rows
        files = [read_arrow(part.path) for part in parts if part.rows < 0]
        if not files:
            return with_earlier(rows, rows.slice(0, 0))
        # Rows of the new days that an earlier log had were in no split: they come anew.
        begin = (day_number(self._job.extension.days[0]) * DAY
                 - 3600 * self._job.config.utc_offset)
        return with_earlier(rows, files[0].filter(pc.less(files[0]['timestamp'], begin)))


class _Merge(beam.CombineFn):
    """Merges summaries of one kind; pending ones are merged when they are as large again."""

    def create_accumulator(self) -> list[Any]:
        return []

    def add_input(self, accumulator: list[Any], summary: Any) -> list[Any]:
        accumulator.append(summary)
        return self._compacted(accumulator)

    def merge_accumulators(self, accumulators: Iterable[list[Any]]) -> list[Any]:
        merged = []
        for accumulator in accumulators:
            merged = self._compacted(merged + accumulator)
        return merged

    def extract_output(self, accumulator: list[Any]) -> Any:
        return type(accumulator[0]).merge(accumulator) if accumulator else None

    def _compacted(self, accumulator: list[Any]) -> list[Any]:
        pending = sum(len(summary) for summary in accumulator[1:])
        if len(accumulator) > 1 and pending > 1000 + len(accumulator[0]):
            return [self.extract_output(accumulator)]
        return accumulator


class _WriteExamples(beam.DoFn):
    """Writes the examples of a bucket; the encoded batches go on to the statistics."""

    def __init__(self, job: Job):
        self._job = job
        self._assembler = None

    def process(self, sorted_bucket: tuple[int, str],
                plan: str) -> Iterator[tuple[str, pa.RecordBatch]]:
        bucket, path = sorted_bucket
        with self._job.telling_errors():
            if self._assembler is None:
                self._assembler = Assembler(self._job.config, self._job.directory, plan)
            yield from self._assembler.write(bucket, read_arrow(path))


def _checked_survey(survey: Survey | None, job: Job) -> Survey:
    survey = survey or Survey()
    with job.telling_errors():
        survey.check(job.config)
        write_text(os.path.join(job.staging, 'survey.json'), json.dumps(
            {'read': survey.read, 'rejected': survey.rejected, 'reasons': survey.reasons}))
    return survey


def _written_summary(keyed: tuple[str, Summary], job: Job) -> tuple[str, Any]:
    key, summary = keyed
    with job.telling_errors():
        return key, write_summary(key, summary, job.config, job.directory, job.staging,
                                  job.extension and job.extension.base)


def _planned(_: None, job: Job, survey: Survey, summaries: dict[str, Any]) -> str:
    splitter = _splitter(job, survey)
    with job.telling_errors():
        make_plan(job.config, job.staging, splitter.names, splitter.days, survey, summaries,
                  job.extension and job.extension.features)
    return job.staging


def _splitter(job: Job, survey: Survey) -> Splitter | OneSplit:
    if job.extension:
        return OneSplit(job.extension.split, job.extension.days, job.config.utc_offset)
    return Splitter(job.config.split, job.config.seed, min(survey.days), survey.timestamps,
                    job.config.utc_offset)


def _in_domains(table: pa.Table, config: DatasetConfig) -> np.ndarray:
    """Which rows are of the domains that become examples; `bool[rows]`."""
    if config.domains is None:
        return np.ones(table.num_rows, bool)
    wanted = pc.is_in(values(table, 'domain'), pa.array(config.domains, pa.string()))
    return wanted.to_numpy(zero_copy_only=False)[codes(table, 'domain')]


def _earlier_rows(job: Job) -> list[tuple[int, Part]]:
    """The rows of the dataset that is extended, as parts of -1 rows: whole files."""
    return [(bucket, Part(path, 0, 0, -1))
            for bucket, path in (job.extension.log if job.extension else [])]

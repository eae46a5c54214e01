"""The steps of the build's pipeline, in the order in which rows pass them."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.arrow_files import read_checked_arrow, write_arrow
from beam_jobs.build.assemble import Context, write_examples
from beam_jobs.build.bucket_counts import bucket_summaries, feature_summaries, growth_summaries
from beam_jobs.build.job import Job
from beam_jobs.build.log_summary import LogSummary
from beam_jobs.build.plan import make_plan
from beam_jobs.build.shuffle import (
    BucketSplitter,
    Chunk,
    concatenate,
    decode_rows,
    encode_rows,
)
from beam_jobs.build.staging import item_versions_path, items_path, log_summary_path, mark_done
from beam_jobs.build.summaries import PlanInputs, Summary
from beam_jobs.config import DatasetConfig
from beam_jobs.features.item_versions import encode_versions, item_columns, merge_versions
from beam_jobs.features.lookup import open_lookup
from beam_jobs.readers.base import REJECTED
from beam_jobs.rows.bucket import row_keys, sort_rows, with_earlier
from beam_jobs.rows.columns import array, codes, decode_texts, encode_texts, numbers, values
from beam_jobs.rows.splits import (
    EARLIER,
    OUTSIDE,
    AddedSplit,
    ConfiguredSplits,
    GivenSplits,
    Splits,
    within_days,
)
from beam_jobs.rows.validate_rows import row_schema, validate_rows
from mdctr.errors import UserError
from mdctr.storage import write_json, write_text


class ReadShard(beam.DoFn):
    """Reads and validates a shard, and writes its rows by bucket.

    Yields buckets with chunks of valid rows; tagged `rejected`, those of rejected rows; tagged
    `summary`, a summary of the shard.
    """

    def __init__(self, job: Job):
        self._job = job

    def process(self, numbered_shard: tuple[int, Any]) -> Iterator[Any]:
        with self._job.reporting_errors():
            yield from self._read(*numbered_shard)

    def _read(self, number: int, shard: Any) -> Iterator[Any]:
        config = self._job.config
        merge = MergeSummaries()
        summaries = merge.create_accumulator()
        valid_rows = BucketSplitter(number, row_schema(config), config.user_buckets, 'user')
        rejected_rows = BucketSplitter(number, REJECTED, config.user_buckets, 'row')
        for batch in _read_batches(self._job.reader, shard):
            valid, invalid = validate_rows(batch.rows, config)
            rejected = [part for part in (batch.rejected, invalid) if part.num_rows]
            yield from valid_rows.add(valid)
            for part in rejected:
                yield from _tagged('rejected', rejected_rows.add(_cast(part, REJECTED)))
            summary = LogSummary.of_batch(valid, rejected, config, batch.joins)
            summaries = merge.add_input(summaries, summary)
        yield from valid_rows.finish()
        yield from _tagged('rejected', rejected_rows.finish())
        summary = merge.extract_output(summaries) or LogSummary()
        yield beam.pvalue.TaggedOutput('summary', summary)
        mark_done(self._job.staging, 'read', number)


class WriteRejected(beam.DoFn):
    """Writes a bucket of rejected rows, in the order of their places."""

    def __init__(self, job: Job):
        self._job = job

    def process(self, chunks_by_bucket: tuple[int, Iterable[Chunk]]) -> None:
        with self._job.reporting_errors():
            self._write(*chunks_by_bucket)

    def _write(self, bucket: int, chunks: Iterable[Chunk]) -> None:
        rows = concatenate(chunks)
        by_place = [(name, 'ascending') for name in ('source', 'line', 'reason', 'row')]
        frame = rows.take(pc.sort_indices(rows, by_place)).to_pandas()
        text = frame.to_json(orient='records', lines=True, force_ascii=False)
        write_text(self._job.rejected_path(bucket), text.rstrip('\n') + '\n')


class SortBucket(beam.DoFn):
    """Sorts a bucket, drops repeated impressions, assigns rows to splits, and summarizes them.

    Yields the bucket and its sorted rows, encoded; tagged `summaries`, pairs of a key and a
    summary; tagged `items`, item buckets with chunks of the items' properties if negatives are
    sampled. An extendable dataset keeps the sorted rows.
    """

    def __init__(self, job: Job):
        self._job = job

    def process(
        self, chunks_by_bucket: tuple[int, Iterable[Chunk | str]], log: LogSummary
    ) -> Iterator[Any]:
        with self._job.reporting_errors():
            yield from self._sort(*chunks_by_bucket, log)

    def _sort(
        self, bucket: int, chunks: Iterable[Chunk | str], log: LogSummary
    ) -> Iterator[Any]:
        config, splits = self._job.config, splits_of(self._job, log)
        rows = self._rows(list(chunks))
        table, duplicates = sort_rows(rows, self._job.keep_duplicates)
        timestamp, keys = numbers(table, 'timestamp'), row_keys(table)
        selected = _in_selected_domains(table, config)
        if isinstance(splits, GivenSplits):
            split = splits.numbers_of(array(table, 'input_split'))
            table = table.drop(['input_split'])
        else:
            split = splits.assign(codes(table, 'user'), timestamp, keys)
        split = np.where(selected, split, np.int8(OUTSIDE))
        earlier = np.zeros(len(split), bool)
        if self._job.extension:
            earlier = numbers(table, 'earlier')
            split = np.where(earlier, np.int8(EARLIER), split)
            table = table.drop(['earlier'])
        table = table.append_column('split', pa.array(split))
        table = table.append_column('key', pa.array(keys))
        if config.extendable:
            new = encode_texts(decode_texts(table.filter(pa.array(~earlier))))
            if new.num_rows:
                write_arrow(self._job.log_path(bucket), new, compressed=True)
        for summary in self._feature_summaries(table, splits, earlier & selected):
            yield beam.pvalue.TaggedOutput('summaries', (summary.key, summary))
        for summary in bucket_summaries(bucket, table, duplicates, splits.names, self._job):
            yield beam.pvalue.TaggedOutput('summaries', (summary.key, summary))
        if config.sampling.ctr_ratio is not None:
            yield from _tagged('items', self._items(bucket, table))
        mark_done(self._job.staging, 'sorted', bucket)
        yield bucket, encode_rows(table)

    def _items(self, bucket: int, table: pa.Table) -> Iterator[tuple[int, Chunk]]:
        """The properties of the items, by item bucket."""
        rows = decode_texts(table.select(item_columns(self._job.config)))
        items = BucketSplitter(bucket, rows.schema, self._job.config.user_buckets, 'item')
        for batch in rows.to_batches():
            yield from items.add(batch)
        yield from items.finish()

    def _feature_summaries(
        self, table: pa.Table, splits: Splits, earlier: np.ndarray
    ) -> Iterator[Summary[Any]]:
        """The summaries that features are made from.

        Args:
            table: Rows of the sorted bucket.
            splits: The splits.
            earlier: Rows of the dataset that is extended, `bool[rows]`.
        """
        config, extension = self._job.config, self._job.extension
        if extension is None:
            yield from feature_summaries(table, splits.names, config)
        elif extension.trained is not None:
            split, timestamp = numbers(table, 'split'), numbers(table, 'timestamp')
            trained = earlier & within_days(extension.trained, timestamp, config.utc_offset)
            state = np.where(trained, 0, np.where(split == 0, 1, -1))
            yield from growth_summaries(table, state, config)

    def _rows(self, chunks: list[Chunk | str]) -> pa.Table:
        config, extension = self._job.config, self._job.extension
        new = [chunk for chunk in chunks if not isinstance(chunk, str)]
        rows = concatenate(new) if new else row_schema(config).empty_table()
        if extension is None:
            return rows
        files = {chunk for chunk in chunks if isinstance(chunk, str)}
        earlier = [
            table.filter(pc.less(table['timestamp'], log.end))
            for log in extension.log
            if log.path in files
            for table in [read_checked_arrow(log.path, log.record)]
        ]
        return with_earlier(rows, earlier)


class MergeSummaries(beam.CombineFn):
    """Merges summaries of one key.

    An accumulator is a list whose first element is merged; the others are merged into it once
    they are as large, so that each summary is merged a logarithmic number of times.
    """

    def create_accumulator(self) -> list[Any]:
        return []

    def add_input(self, accumulator: list[Any], summary: Any) -> list[Any]:
        accumulator.append(summary)
        return self._compact(accumulator)

    def merge_accumulators(self, accumulators: Iterable[list[Any]]) -> list[Any]:
        merged: list[Any] = []
        for accumulator in accumulators:
            merged = self._compact(merged + accumulator)
        return merged

    def extract_output(self, accumulator: list[Any]) -> Any:
        return type(accumulator[0]).merge(accumulator) if accumulator else None

    def _compact(self, accumulator: list[Any]) -> list[Any]:
        pending = sum(len(summary) for summary in accumulator[1:])
        if len(accumulator) > 1 and pending > 1000 + len(accumulator[0]):
            return [self.extract_output(accumulator)]
        return accumulator


class EncodeItems(beam.DoFn):
    """Encodes the versions of a bucket of items; yields the bucket and a table, encoded."""

    def __init__(self, job: Job):
        self._job = job
        self._context: Context | None = None

    def process(
        self, chunks_by_bucket: tuple[int, Iterable[Chunk]], plan: PlanInputs
    ) -> Iterator[tuple[int, bytes]]:
        """Args:
        chunks_by_bucket: Number of the bucket and the rows of its items.
        plan: Not used; makes this step wait for the plan.
        """
        bucket, chunks = chunks_by_bucket
        with self._job.reporting_errors():
            if self._context is None:
                self._context = Context.read(self._job)
            rows = encode_texts(concatenate(chunks))
            items = open_lookup(items_path(self._job.staging))
            versions = encode_versions(rows, self._context.encoder, items)
        yield bucket, encode_rows(versions)


class WriteExamples(beam.DoFn):
    """Writes the examples of a bucket; yields batches of ids for the statistics."""

    def __init__(self, job: Job):
        self._job = job
        self._context: Context | None = None

    def process(
        self, sorted_bucket: tuple[int, bytes], plan: PlanInputs, item_versions: str | None
    ) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Args:
        sorted_bucket: Number of the bucket and its rows, encoded.
        plan: Not used; makes this step wait for the plan.
        item_versions: Not used; makes this step wait for the items.
        """
        bucket, rows = sorted_bucket
        with self._job.reporting_errors():
            if self._context is None:
                self._context = Context.read(self._job)
            yield from write_examples(self._context, bucket, decode_rows(rows))
            mark_done(self._job.staging, 'written', bucket)


def check_log(log: LogSummary | None, job: Job) -> LogSummary:
    """Refuses an unusable log, and writes the counts that the manifest needs."""
    log = log or LogSummary()
    with job.reporting_errors():
        log.require_usable(job.config)
        write_json(
            log_summary_path(job.staging),
            {
                'read': log.read,
                'rejected': log.rejected,
                'reasons': log.reasons,
                'warnings': log.warnings(),
            },
        )
    return log


def write_summary(keyed_summary: tuple[str, Summary[Any]], job: Job) -> PlanInputs:
    """Writes a merged summary."""
    with job.reporting_errors():
        return keyed_summary[1].write(job)


def write_plan(_: None, job: Job, log: LogSummary, inputs: Iterable[PlanInputs]) -> PlanInputs:
    """Makes the plan and writes it."""
    merged = PlanInputs.merge(list(inputs))
    with job.reporting_errors():
        make_plan(job, splits_of(job, log), log, merged)
    return merged


def merge_item_versions(parts: tuple[None, Iterable[tuple[int, bytes]]], job: Job) -> str:
    """Writes the versions of all items to one file; returns its path."""
    path = item_versions_path(job.staging)
    with job.reporting_errors():
        merge_versions(path, [decode_rows(rows) for _, rows in sorted(parts[1])])
    return path


def splits_of(job: Job, log: LogSummary) -> Splits:
    """The splits that the new rows are assigned to."""
    config = job.config
    if job.extension:
        return AddedSplit(job.extension.split, job.extension.days, config.utc_offset)
    if isinstance(config.inputs, dict):
        return GivenSplits(config.inputs)
    return ConfiguredSplits(
        config.split, config.seed, min(log.days), log.timestamps, config.utc_offset
    )


def earlier_rows(job: Job) -> list[tuple[int, str]]:
    """The rows of the dataset that is extended: buckets with their files."""
    log = job.extension.log if job.extension else []
    return [(rows.bucket, rows.path) for rows in log]


def _read_batches(reader: Any, shard: Any) -> Iterator[Any]:
    """The batches of a shard; an `OSError` here is about the log, not about the dataset."""
    try:
        yield from reader.read(shard)
    except OSError as error:
        raise UserError(
            f'The log cannot be read: {error}; check the file, or remove it from `inputs`.'
        ) from error


def _tagged(tag: str, elements: Iterable[Any]) -> Iterator[beam.pvalue.TaggedOutput]:
    return (beam.pvalue.TaggedOutput(tag, element) for element in elements)


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    table = pa.Table.from_batches([batch]).cast(schema).combine_chunks()
    return table.to_batches()[0]


def _in_selected_domains(table: pa.Table, config: DatasetConfig) -> np.ndarray:
    """The rows of domains that become examples; `bool[rows]`."""
    if config.domains is None:
        return np.ones(table.num_rows, bool)
    selected = pc.is_in(values(table, 'domain'), pa.array(config.domains, pa.string()))
    return selected.to_numpy(zero_copy_only=False)[codes(table, 'domain')]

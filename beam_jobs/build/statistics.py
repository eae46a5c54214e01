"""Samples a dataset while it is built, and computes statistics of the sample.

TensorFlow Data Validation takes 5 to 35 microseconds for a row of a dozen features with its
slice by domain, more than everything else that a build does to a row. So it sees a sample of
each split: the `SAMPLE_ROWS` rows with the smallest hashes, and of each domain the
`DOMAIN_ROWS` rows with the smallest hashes, so that small domains are seen as well. Of periods
of a few days, of which there are many, the sample is smaller. Within a domain every row is
equally likely to be in the sample, which is the same for every runner and order of the rows.

The sample is kept next to the statistics, for the tests of `beam_jobs.validation`. Exact
numbers of rows and clicks are in the manifest.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_jobs.config import SplitConfig
from beam_jobs.rows.random_draws import hash64
from mdctr import storage
from mdctr.storage import write_bytes

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import statistics_pb2

ReportingErrors = Callable[[], contextlib.AbstractContextManager[None]]

SAMPLE_ROWS = 50_000
DOMAIN_ROWS = 2_000
SLICES = 50
# With many domains, fewer rows of each: about this many of all domains together.
_ROWS_OF_DOMAINS = 300_000
_LEAST_DOMAIN_ROWS = 100
OVERALL = 'All Examples'  # TFDV's own name for it
# A row's identity, from which its hash, and so its place in the sample, is computed.
_IDENTITY = ('user_key', 'user_id', 'item_id', 'timestamp', 'domain')
_NOT_IDS = ('click', 'timestamp')
_KEY = 'sample_key'


def sample_rows(split: SplitConfig) -> int:
    """Number of rows of a split in the sample, whatever their domains; of a period, fewer."""
    if split.by != 'periods':
        return SAMPLE_ROWS
    return min(SAMPLE_ROWS, 10_000 * split.period_days)


class WriteStatistics(beam.PTransform):
    """Writes the sample of every split, and its statistics.

    The input is pairs of a split and a `pa.RecordBatch` of `list<int64>` columns, `domain` and
    `click` among them; the output is the paths of the statistics. `<split>.parquet` is the
    sample, `<split>.pb` a `DatasetFeatureStatisticsList`: of all rows of the sample first, then
    of each domain. The same rows give the same bytes.

    Args:
        directory: Directory of the version.
        rows: Number of rows of a split in the sample, whatever their domains.
        domain_rows: Number of rows of each domain, if it has as many.
        slices: Largest domain id with a slice of its own; ids are by frequency.
        reporting_errors: Makes the context in which a worker writes.
    """

    def __init__(
        self,
        directory: str,
        rows: int = SAMPLE_ROWS,
        domain_rows: int = DOMAIN_ROWS,
        slices: int = SLICES,
        reporting_errors: ReportingErrors = contextlib.nullcontext,
    ):
        super().__init__()
        self._write = _Write(directory, slices, reporting_errors)
        self._sample = _SmallestHashes(rows, domain_rows)

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return (
            batches
            | 'SampleBySplit' >> beam.CombinePerKey(self._sample)
            | 'SpreadSplits' >> beam.Reshuffle()
            | 'ComputeAndWrite' >> beam.MapTuple(self._write)
        )


def statistics_path(directory: str, split: str) -> str:
    """The file with the statistics of `split`; in a dataset, see `Dataset.path`."""
    return storage.join(directory, 'statistics', f'{split}.pb')


def sample_path(directory: str, split: str) -> str:
    """The file with the sample of `split`; in a dataset, see `Dataset.path`."""
    return storage.join(directory, 'statistics', f'{split}.parquet')


def write_sample(directory: str, split: str, rows: pa.Table) -> None:
    """Writes the sample of a split."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, compression='zstd')
    write_bytes(sample_path(directory, split), sink.getvalue().to_pybytes())


def compute_statistics(
    rows: pa.Table, slices: int = SLICES
) -> 'statistics_pb2.DatasetFeatureStatisticsList':
    """Computes TFDV's statistics of all rows and of each domain.

    Args:
        rows: Ids as `list<int64>` columns.
        slices: Largest domain id with a slice of its own; 0 is that of unseen domains.

    Returns:
        A `DatasetFeatureStatisticsList` whose datasets are named `All Examples` and
        `domain_<id>`.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    rows = rows.select([name for name in rows.column_names if name != 'user_key'])
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    for name, slice_rows in _slices(rows, slices):
        dataset = statistics.datasets.add()
        dataset.CopyFrom(_compute_slice(slice_rows))
        dataset.name = name
    return statistics


class _SmallestHashes(beam.CombineFn):
    """Keeps the rows with the smallest hashes, of all rows and of each domain.

    Rows that tie with the last are kept as well. The sample depends on the set of rows only,
    not on their order or on how they are grouped into batches and bundles. An accumulator is a
    list of tables with hashes; its first one is a sample unless there are few rows.
    """

    def __init__(self, limit: int, domain_limit: int = DOMAIN_ROWS):
        self._limit, self._domain_limit = limit, domain_limit

    def create_accumulator(self) -> list[pa.Table]:
        return []

    def add_input(self, accumulator: list[pa.Table], batch: pa.RecordBatch) -> list[pa.Table]:
        table = pa.Table.from_batches([batch]).append_column(_KEY, pa.array(_hashes(batch)))
        return self._merged([*accumulator, self._smallest(table)])

    def merge_accumulators(self, accumulators: Iterable[list[pa.Table]]) -> list[pa.Table]:
        merged: list[pa.Table] = []
        for accumulator in accumulators:
            merged = self._merged(merged + accumulator)
        return merged

    def compact(self, accumulator: list[pa.Table]) -> list[pa.Table]:
        return [self._smallest(pa.concat_tables(accumulator))] if accumulator else []

    def extract_output(self, accumulator: list[pa.Table]) -> pa.Table:
        table = self._smallest(pa.concat_tables(accumulator)).combine_chunks()
        # Rows with equal hashes may still differ in columns outside the identity.
        single = [table[name].combine_chunks() for name in table.column_names if name != _KEY]
        single = [
            column.flatten().to_numpy()
            for column in single
            if len(column.flatten()) == len(column)
        ]
        order = np.lexsort([*single, table[_KEY].to_numpy()])
        return table.drop([_KEY]).take(pa.array(order)).combine_chunks()

    def _merged(self, tables: list[pa.Table]) -> list[pa.Table]:
        added = sum(table.num_rows for table in tables[1:])
        if added > max(tables[0].num_rows, self._limit):
            return [self._smallest(pa.concat_tables(tables))]
        return tables

    def _smallest(self, table: pa.Table) -> pa.Table:
        if table.num_rows <= self._limit:
            return table
        keys, domain = table[_KEY].to_numpy(), _values(table, 'domain')
        last = np.partition(keys, self._limit - 1)[self._limit - 1]
        # A part of the rows has no more domains than all of them, and so no smaller limit.
        names, index, sizes = np.unique(domain, return_inverse=True, return_counts=True)
        limit = min(self._domain_limit, max(_LEAST_DOMAIN_ROWS, _ROWS_OF_DOMAINS // len(names)))
        order = np.lexsort((keys, index))
        ends = np.minimum(np.cumsum(sizes) - sizes + limit, np.cumsum(sizes)) - 1
        kept = (keys <= last) | (keys <= keys[order][ends][index])
        # Rows are copied: a slice would be sent with all that it was cut from.
        return table.take(pa.array(np.flatnonzero(kept))).combine_chunks()


def _hashes(batch: pa.RecordBatch) -> np.ndarray:
    columns = [
        batch.column(batch.schema.names.index(name)).flatten().to_numpy()
        for name in _IDENTITY
        if name in batch.schema.names
    ]
    return hash64(*columns)


@dataclass(frozen=True)
class _Write:
    directory: str
    slices: int
    reporting_errors: ReportingErrors

    def __call__(self, split: str, rows: pa.Table) -> str:
        path = statistics_path(self.directory, split)
        with self.reporting_errors():
            write_sample(self.directory, split, rows)
            statistics = compute_statistics(rows, self.slices)
            write_bytes(path, statistics.SerializeToString(deterministic=True))
        return path


def _slices(rows: pa.Table, slices: int) -> Iterator[tuple[str, pa.Table]]:
    yield OVERALL, rows
    domain = _values(rows, 'domain')
    for number in np.unique(domain[domain <= slices]).tolist():
        yield f'domain_{number}', rows.filter(pa.array(domain == number))


def _values(rows: pa.Table, name: str) -> np.ndarray:
    return rows[name].combine_chunks().flatten().to_numpy()


def _compute_slice(rows: pa.Table) -> 'statistics_pb2.DatasetFeatureStatistics':
    """The statistics of `rows`; ids are categories, not numbers."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    from beam_jobs.quiet_tfdv import basic_stats_generator, stats_impl, tfdv, top_k

    schema = schema_pb2.Schema()
    for name in rows.column_names:
        feature = schema.feature.add(name=name, type=schema_pb2.INT)
        if name not in _NOT_IDS:
            feature.int_domain.is_categorical = True
    # TFDV's default sketch drops values beyond 16,384 by a hash that differs from process to
    # process. With a cell for every value it drops none, and its output is reproducible.
    cells = max(1, *(len(_values(rows, name)) for name in rows.column_names))
    options = tfdv.StatsOptions(
        schema=schema,
        add_default_generators=False,
        generators=[
            basic_stats_generator.BasicStatsGenerator(schema=schema),
            top_k.TopKUniquesSketchStatsGenerator(
                schema=schema,
                example_weight_map=tfdv.StatsOptions().example_weight_map,
                num_top_values=20,
                num_rank_histogram_buckets=1000,
                num_misragries_buckets=cells,
                num_kmv_buckets=1 << 14,
            ),
        ],
    )
    return stats_impl.generate_statistics_in_memory(
        rows.combine_chunks().to_batches()[0], options
    ).datasets[0]

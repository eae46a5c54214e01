"""Statistics of a dataset by TensorFlow Data Validation, made while it is built.

TFDV takes 5 to 35 microseconds for a row of a dozen features with its slice by domain, more
than all else that a build does to a row. So it sees a sample: of each split the `SAMPLE_ROWS`
rows whose hashes are smallest, whatever runner or worker met them, in one order; of periods of
a few days, of which there are many, it sees fewer. What must be exact (how many rows and clicks
a split and a domain have) the manifest counts.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_jobs.config import SplitConfig
from beam_jobs.draws import mix

SAMPLE_ROWS = 50_000
SLICES = 50
OVERALL = 'All Examples'  # TFDV's own name for it
# Who and when a row is: what its hash, and so its place in the sample, comes from.
_IDENTITY = ('user_key', 'user_id', 'item_id', 'timestamp', 'domain')
_NOT_IDS = ('click', 'timestamp')
_KEY = 'sample_key'


def sample_rows(split: SplitConfig) -> int:
    """The most rows of a split that statistics are made of; of a period, by its days."""
    if split.by != 'periods':
        return SAMPLE_ROWS
    return min(SAMPLE_ROWS, 10_000 * split.period_days)


class WriteStatistics(beam.PTransform):
    """Writes `<directory>/statistics/<split>.pb` of the batches of every split.

    Takes (split, `pa.RecordBatch` of `list<int64>` columns, `domain` and `click` among them)
    and gives the paths that it wrote. A file is a `DatasetFeatureStatisticsList`: of all rows
    first, then sliced by domain. The same rows make the same bytes.

    Args:
        directory: of the dataset.
        rows: the most rows of a split that statistics are made of.
        slices: domains with an id above it have no slice; the most frequent ones are first.
    """

    def __init__(self, directory: str, rows: int = SAMPLE_ROWS, slices: int = SLICES):
        super().__init__()
        self._directory, self._rows, self._slices = directory, rows, slices

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        return (batches
                | 'SampleBySplit' >> beam.CombinePerKey(_SmallestHashes(self._rows))
                | 'SpreadSplits' >> beam.Reshuffle()
                | 'ComputeAndWrite' >> beam.MapTuple(
                    _Write(self._directory, self._slices)))


def statistics_path(directory: str, split: str) -> str:
    """The file with the statistics of `split`."""
    return os.path.join(directory, 'statistics', f'{split}.pb')


def compute_statistics(rows: pa.Table, slices: int = SLICES):
    """TFDV's statistics of `rows` and of each slice by domain that has rows.

    Args:
        rows: `list<int64>` columns.
        slices: the greatest domain id that has a slice; 0 is the unseen domains'.

    Returns:
        A `DatasetFeatureStatisticsList` whose datasets are named `All Examples` and
        `domain_<id>`.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    rows = rows.select([name for name in rows.column_names if name != 'user_key'])
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    for name, some in _slices(rows, slices):
        dataset = statistics.datasets.add()
        dataset.CopyFrom(_of_one_slice(some))
        dataset.name = name
    return statistics


class _SmallestHashes(beam.CombineFn):
    """Keeps the rows with the `limit` smallest hashes, and those that tie with the last.

    The sample is a function of the set of rows: neither their order nor how they are grouped
    into batches and bundles shows in it. An accumulator is a list of tables with hashes, of
    at most twice the limit's rows.
    """

    def __init__(self, limit: int):
        self._limit = limit

    def create_accumulator(self) -> list[pa.Table]:
        return []

    def add_input(self, accumulator: list[pa.Table],
                  batch: pa.RecordBatch) -> list[pa.Table]:
        keys = _hashes(batch)
        table = pa.Table.from_batches([batch]).append_column(_KEY, pa.array(keys))
        if accumulator and accumulator[0].num_rows >= self._limit:  # later ones are below
            below = np.flatnonzero(keys <= accumulator[0][_KEY].to_numpy().max())
            table = table.take(pa.array(below)).combine_chunks()
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
        # Equal hashes are equal rows but for what the identity does not show.
        single = [table[name].combine_chunks() for name in table.column_names if name != _KEY]
        single = [column.flatten().to_numpy() for column in single
                  if len(column.flatten()) == len(column)]
        order = np.lexsort([*single, table[_KEY].to_numpy()])
        return table.drop([_KEY]).take(pa.array(order)).combine_chunks()

    def _merged(self, tables: list[pa.Table]) -> list[pa.Table]:
        if sum(table.num_rows for table in tables) > 2 * self._limit:
            return [self._smallest(pa.concat_tables(tables))]
        return tables

    def _smallest(self, table: pa.Table) -> pa.Table:
        if table.num_rows <= self._limit:
            return table
        keys = table[_KEY].to_numpy()
        last = np.partition(keys, self._limit - 1)[self._limit - 1]
        # Rows are copied: a slice would be sent with all that it was cut from.
        return table.take(pa.array(np.flatnonzero(keys <= last))).combine_chunks()


def _hashes(batch: pa.RecordBatch) -> np.ndarray:
    columns = [batch.column(batch.schema.names.index(name)).flatten().to_numpy()
               for name in _IDENTITY if name in batch.schema.names]
    return mix(*columns)


@dataclass(frozen=True)
class _Write:
    directory: str
    slices: int

    def __call__(self, split: str, rows: pa.Table) -> str:
        path = statistics_path(self.directory, split)
        statistics = compute_statistics(rows, self.slices)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + '.tmp', 'wb') as file:
            file.write(statistics.SerializeToString(deterministic=True))
        os.replace(path + '.tmp', path)
        return path


def _slices(rows: pa.Table, slices: int) -> Iterator[tuple[str, pa.Table]]:
    yield OVERALL, rows
    domain = _values(rows, 'domain')
    for number in np.unique(domain[domain <= slices]).tolist():
        yield f'domain_{number}', rows.filter(pa.array(domain == number))


def _values(rows: pa.Table, name: str) -> np.ndarray:
    return rows[name].combine_chunks().flatten().to_numpy()


def _of_one_slice(rows: pa.Table):
    """`DatasetFeatureStatistics` of `rows`; ids are categories, not numbers."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    from beam_jobs.data_validation import basic_stats_generator, stats_impl, tfdv, top_k

    schema = schema_pb2.Schema()
    for name in rows.column_names:
        feature = schema.feature.add(name=name, type=schema_pb2.INT)
        if name not in _NOT_IDS:
            feature.int_domain.is_categorical = True
    # TFDV's default sketch drops values beyond 16,384 by a hash that differs from process to
    # process. One with a cell for every value drops none, and its output is always the same.
    cells = max(1, *(len(_values(rows, name)) for name in rows.column_names))
    options = tfdv.StatsOptions(schema=schema, add_default_generators=False, generators=[
        basic_stats_generator.BasicStatsGenerator(schema=schema),
        top_k.TopKUniquesSketchStatsGenerator(
            schema=schema, example_weight_map=tfdv.StatsOptions().example_weight_map,
            num_top_values=20, num_rank_histogram_buckets=1000, num_misragries_buckets=cells,
            num_kmv_buckets=1 << 14)])
    return stats_impl.generate_statistics_in_memory(
        rows.combine_chunks().to_batches()[0], options).datasets[0]

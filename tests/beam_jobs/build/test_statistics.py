"""Statistics of a build: the same sample however rows come, and the figures of its rows."""

import collections

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tensorflow_metadata.proto.v0 import statistics_pb2

from beam_jobs.build.statistics import (
    OVERALL,
    WriteStatistics,
    _SmallestHashes,
    compute_statistics,
    sample_path,
    statistics_path,
)
from tests.beam_jobs.tiny_dataset import make_rows, record_batch


def table(columns):
    return pa.Table.from_batches([record_batch(columns)])


def read(path):
    with open(path, 'rb') as file:
        return {
            of.name: of
            for of in statistics_pb2.DatasetFeatureStatisticsList.FromString(
                file.read()
            ).datasets
        }


def features(of):
    return {feature.path.step[0]: feature for feature in of.features}


def test_figures_equal_those_counted_by_hand():
    columns = make_rows(500)
    found = {of.name: of for of in compute_statistics(table(columns)).datasets}
    assert set(found) == {OVERALL, 'domain_1', 'domain_2'}
    for name, mine in ((OVERALL, np.ones(500, bool)), ('domain_1', columns['domain'] == 1)):
        of = features(found[name])
        assert found[name].num_examples == mine.sum()
        assert 'user_key' not in of
        items = collections.Counter(columns['item_id'][mine].tolist())
        ranks = {
            int(bucket.label): bucket.sample_count
            for bucket in of['item_id'].string_stats.rank_histogram.buckets
        }
        assert ranks == items
        genres = np.concatenate(
            [ids for ids, inside in zip(columns['genres'], mine, strict=True) if inside]
        )
        ranks = {
            int(bucket.label): bucket.sample_count
            for bucket in of['genres'].string_stats.rank_histogram.buckets
        }
        assert ranks == collections.Counter(genres.tolist())
        assert of['click'].num_stats.mean == pytest.approx(columns['click'][mine].mean())
        assert of['timestamp'].num_stats.max == columns['timestamp'][mine].max()


def test_domains_beyond_the_largest_have_no_slice():
    columns = {**make_rows(60), 'domain': np.arange(60) % 6}
    found = compute_statistics(table(columns), slices=3)
    assert [of.name for of in found.datasets] == [
        OVERALL,
        'domain_0',
        'domain_1',
        'domain_2',
        'domain_3',
    ]


def write(directory, columns, order, batch, rows, split='train', domain_rows=1):
    shuffled = {name: [values[i] for i in order] for name, values in columns.items()}
    batches = [
        (
            split,
            record_batch({name: values[i : i + batch] for name, values in shuffled.items()}),
        )
        for i in range(0, len(order), batch)
    ]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create(batches) | WriteStatistics(str(directory), rows, domain_rows)
    return statistics_path(str(directory), split)


@pytest.mark.parametrize('rows', [150, 10_000])
def test_bytes_depend_on_the_rows_alone(tmp_path, rows):
    columns = make_rows(900)
    one = write(tmp_path / 'one', columns, np.arange(900), 900, rows)
    two = write(tmp_path / 'two', columns, np.random.default_rng(2).permutation(900), 70, rows)
    with open(one, 'rb') as first, open(two, 'rb') as second:
        assert first.read() == second.read()
    assert read(one)[OVERALL].num_examples == min(rows, 900)
    one, two = (sample_path(str(tmp_path / name), 'train') for name in ('one', 'two'))
    assert pq.read_table(one).equals(pq.read_table(two))


def test_every_split_has_its_own_file(tmp_path):
    batches = [
        ('train', record_batch(make_rows(40))),
        ('test', record_batch(make_rows(30, 1))),
        ('train', record_batch(make_rows(20, 2))),
    ]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | beam.Create(batches) | WriteStatistics(str(tmp_path))
    assert read(statistics_path(str(tmp_path), 'train'))[OVERALL].num_examples == 60
    assert read(statistics_path(str(tmp_path), 'test'))[OVERALL].num_examples == 30


def test_the_sample_is_a_fair_one():
    combine = _SmallestHashes(3000, domain_limit=1)
    accumulator = combine.create_accumulator()
    count = 30_000
    for part in range(10):
        rng = np.random.default_rng(part)
        accumulator = combine.add_input(
            accumulator,
            record_batch(
                {
                    'domain': np.full(count // 10, part + 1),
                    'user_key': rng.integers(0, 10**9, 3000),
                    'click': (np.arange(count // 10) % 4 == 0).astype(int),
                }
            ),
        )
    sample = combine.extract_output(accumulator)
    domain = sample['domain'].combine_chunks().flatten().to_numpy()
    click = sample['click'].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    assert sample.num_rows == 3000
    assert click.mean() == pytest.approx(0.25, abs=0.03)  # four standard deviations
    assert np.abs(np.bincount(domain, minlength=11)[1:] - 300).max() < 70


def test_rows_that_tie_at_the_limit_all_stay():
    columns = {
        name: np.repeat(np.asarray(values, object) if name == 'genres' else values, 5)
        for name, values in make_rows(20).items()
    }
    columns['domain'][:] = 1
    one, two = _SmallestHashes(7, 1), _SmallestHashes(7, 1)
    whole = one.extract_output(one.add_input([], record_batch(columns)))
    order = np.random.default_rng(0).permutation(100)
    parts = [
        two.add_input([], record_batch({n: v[some] for n, v in columns.items()}))
        for some in np.split(order, 5)
    ]
    assert whole.num_rows == 10
    assert two.extract_output(two.merge_accumulators(parts)).equals(whole)


def test_small_domains_are_sampled_as_well():
    """A domain of 0.3 % of the rows keeps as many as it has, up to the limit of a domain."""
    rng = np.random.default_rng(1)
    count = 20_000
    batch = {
        'domain': np.where(np.arange(count) % 333 == 0, 2, 1),
        'user_key': rng.integers(0, 10**9, count),
        'click': rng.integers(0, 2, count),
    }
    one, two = _SmallestHashes(500, 40), _SmallestHashes(500, 40)
    whole = one.extract_output(one.add_input([], record_batch(batch)))
    parts = []
    for some in np.array_split(rng.permutation(count), 30):
        parts = two.add_input(parts, record_batch({n: v[some] for n, v in batch.items()}))
    assert two.extract_output(two.merge_accumulators([parts, []])).equals(whole)
    domain = whole['domain'].combine_chunks().flatten().to_numpy()
    assert np.bincount(domain).tolist()[2] == 40
    assert 498 <= np.bincount(domain).tolist()[1] <= 500

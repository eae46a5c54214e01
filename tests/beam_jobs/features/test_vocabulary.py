"""Vocabularies, boundaries and the summaries that they are made of."""

import collections

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.features import lookup as lookup_module
from beam_jobs.features.lookup import Lookup
from beam_jobs.features.quantile_buckets import bucketize, quantile_boundaries
from beam_jobs.features.vocabulary import count_values, order_by_frequency, write_vocabulary
from beam_jobs.rows.mergeable import NumberCounts, TableCounts, ValueCounts
from mdctr.manifest import read_vocabulary, vocabulary_path


def counted(texts: list) -> ValueCounts:
    table = pa.table({'x': pa.array(texts, pa.string()).dictionary_encode()})
    return count_values(table, 'x', np.ones(len(texts), bool))


def random_texts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f'ä{n}' for n in rng.zipf(1.5, count) % 97]


def test_vocabulary_is_by_frequency_then_bytes():
    texts = [*random_texts(3000, 0), None, 'b', 'B', 'é']
    expected = sorted(
        collections.Counter(t for t in texts if t).items(),
        key=lambda pair: (-pair[1], pair[0].encode()),
    )
    assert order_by_frequency(counted(texts)).to_pylist() == [value for value, _ in expected]
    assert order_by_frequency(counted(texts), 3).to_pylist() == [
        v for v, n in expected if n >= 3
    ]
    assert order_by_frequency(counted([])).to_pylist() == []


def test_counts_take_only_the_rows_asked_for():
    table = pa.table(
        {
            'x': pa.array(['a', 'b', 'a', None]).dictionary_encode(),
            'xs': pa.array([['p', 'q'], ['q'], [], ['p']]),
        }
    )
    rows = np.array([True, False, True, True])
    assert order_by_frequency(count_values(table, 'x', rows)).to_pylist() == ['a']
    counts = count_values(table, 'xs', rows)
    assert dict(zip(counts.values.to_pylist(), counts.counts, strict=True)) == {'p': 2, 'q': 1}


def test_values_with_a_line_break_get_no_id():
    assert order_by_frequency(counted(['a\nb', 'c\r', 'd', 'd'])).to_pylist() == ['d']


def test_merging_in_any_order_and_grouping_gives_the_same():
    parts = [counted(random_texts(500, seed)) for seed in range(5)]
    whole = counted([text for seed in range(5) for text in random_texts(500, seed)])
    merged = ValueCounts.merge(parts[::-1])
    nested = ValueCounts.merge([ValueCounts.merge(parts[:2]), ValueCounts.merge(parts[2:])])
    for one in (merged, nested):
        assert one.values.equals(whole.values) and (one.counts == whole.counts).all()


def test_lines_are_read_back_as_they_were(tmp_path):
    values = ['x', ' y ', 'ü', '', '"', '\u2028', 'z']
    write_vocabulary(vocabulary_path(str(tmp_path), 'v'), pa.array(values))
    assert read_vocabulary(str(tmp_path), 'v') == values
    write_vocabulary(vocabulary_path(str(tmp_path), 'none'), pa.array([], pa.string()))
    assert read_vocabulary(str(tmp_path), 'none') == []


def test_lookup_gives_line_numbers_and_zero(tmp_path):
    values = pa.array([f'v{n}' for n in np.random.default_rng(0).permutation(5000)])
    Lookup.write(str(tmp_path / 'lookup'), values)
    lookup = Lookup(str(tmp_path / 'lookup'))
    assert lookup.ids(values).tolist() == list(range(1, 5001))
    assert lookup.ids(pa.array(['no', 'v17', ''])).tolist() == [
        0,
        values.to_pylist().index('v17') + 1,
        0,
    ]
    assert lookup.ids(pa.array([], pa.string())).tolist() == []


def test_lookup_of_an_empty_vocabulary(tmp_path):
    Lookup.write(str(tmp_path / 'lookup'), pa.array([], pa.string()))
    assert Lookup(str(tmp_path / 'lookup')).ids(pa.array(['x'])).tolist() == [0]


def test_lookup_does_not_confuse_texts_of_one_hash(tmp_path, monkeypatch):
    # A weak hash, in which texts collide unless salted: the real one would take centuries.
    def weak(values, salt=0):
        return np.array(
            [len(v) if salt == 0 else hash_of[v] for v in values.to_pylist()], np.uint64
        )

    hash_of = {'aa': 5, 'bb': 3, 'c': 9, 'dd': 3}
    monkeypatch.setattr(lookup_module, 'hash_strings', weak)
    Lookup.write(str(tmp_path / 'lookup'), pa.array(['aa', 'bb', 'c']))
    assert Lookup(str(tmp_path / 'lookup')).ids(pa.array(['c', 'bb', 'aa', 'dd'])).tolist() == [
        3,
        2,
        1,
        0,
    ]


@pytest.mark.parametrize('buckets', [2, 4, 10])
def test_boundaries_are_quantiles(buckets):
    numbers = np.random.default_rng(buckets).lognormal(size=999)
    at = quantile_boundaries(NumberCounts.of(numbers), buckets)
    expected = np.quantile(numbers, np.arange(1, buckets) / buckets, method='inverted_cdf')
    assert at == np.unique(expected).tolist()
    shares = np.bincount(bucketize(numbers, at))[1:] / 999
    assert np.abs(shares - 1 / buckets).max() < 0.003


def test_boundaries_of_few_values():
    assert quantile_boundaries(NumberCounts.of(np.array([])), 4) == []
    assert quantile_boundaries(NumberCounts.of(np.full(9, 7.0)), 4) == []
    assert quantile_boundaries(NumberCounts.of(np.array([0.0] * 9 + [1.0])), 20) == [1.0]


def test_bucketize_counts_boundaries_at_or_below():
    assert bucketize(np.array([np.nan, -5, 1, 1.5, 2, 99]), [1.0, 2.0]).tolist() == [
        0,
        1,
        2,
        2,
        3,
        3,
    ]
    assert bucketize(np.array([np.nan, 3.0]), []).tolist() == [0, 1]


def test_numbers_are_counted_exactly_in_any_order():
    numbers = np.random.default_rng(0).integers(-50, 50, 5000) / 4
    expected, counts = np.unique(numbers, return_counts=True)
    parts = [NumberCounts.of(part) for part in np.array_split(numbers, 7)]
    for order in (parts, parts[::-1]):
        merged = NumberCounts.merge(order)
        assert merged.numbers().tolist() == expected.tolist()
        assert merged.counts.tolist() == counts.tolist()


def test_too_many_numbers_fall_into_cells_the_same_way_in_any_order(monkeypatch):
    monkeypatch.setattr(NumberCounts, 'LIMIT', 100)
    numbers = np.random.default_rng(0).normal(size=5000) * 1000
    parts = [NumberCounts.of(part) for part in np.array_split(numbers, 9)]
    whole = NumberCounts.of(numbers)
    nested = NumberCounts.merge([NumberCounts.merge(parts[5:]), NumberCounts.merge(parts[:5])])
    for one in (NumberCounts.merge(parts), nested):
        assert (one.cells == whole.cells).all() and (one.counts == whole.counts).all()
        assert one.shift == whole.shift
    assert 50 < len(whole) <= 100 and whole.counts.sum() == 5000
    assert (np.diff(whole.numbers()) > 0).all() and whole.numbers()[0] <= numbers.min()


def test_table_counts_add_up_by_key():
    parts = [
        TableCounts(pa.table({'k': ['b', 'a'], 'j': [1, 2], 'n': [3, 4]}), 2),
        TableCounts(pa.table({'k': ['a', 'a'], 'j': [2, 1], 'n': [5, 6]}), 2),
    ]
    for order in (parts, parts[::-1]):
        assert TableCounts.merge(order).table.to_pylist() == [
            {'k': 'a', 'j': 1, 'n': 6},
            {'k': 'a', 'j': 2, 'n': 9},
            {'k': 'b', 'j': 1, 'n': 3},
        ]


def test_minima_are_kept_rather_than_summed():
    parts = [
        TableCounts(pa.table({'k': ['b', 'a'], 'n': [1, 2], 'day': [7, 5]}), 1, ('day',)),
        TableCounts(pa.table({'k': ['a'], 'n': [3], 'day': [4]}), 1, ('day',)),
    ]
    merged = TableCounts.merge([TableCounts.merge(parts), parts[0]])
    assert merged.table.to_pylist() == [
        {'k': 'a', 'n': 7, 'day': 4},
        {'k': 'b', 'n': 2, 'day': 7},
    ]

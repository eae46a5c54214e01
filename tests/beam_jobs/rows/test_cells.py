"""The meaning of a cell depends on the cell alone, whatever stands in its neighbours."""

import datetime
import decimal
import itertools

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.rows.cells import lists, numbers, plain, texts

NUMBERS = {  # a text: the number, None if it is missing, an exception if it is not a number
    '5': 5.0,
    '+5': 5.0,
    '-5.': -5.0,
    '.5': 0.5,
    '1e9': 1e9,
    '+1E+2': 100.0,
    ' 7 ': 7.0,
    '00012': 12.0,
    '1e-999': 0.0,
    'true': 1.0,
    'FALSE': 0.0,
    'nan': None,
    'NaN': None,
    '-nan': None,
    '': None,
    ' ': None,
    'inf': ValueError,
    '1e999': ValueError,
    'nan(1)': ValueError,
    '1,5': ValueError,
    '0x10': ValueError,
    '1_0': ValueError,
    '5 6': ValueError,
    '--5': ValueError,
}


def _number(column: pa.Array, row: int) -> float | type | None:
    values, invalid = numbers(column)
    return ValueError if invalid[row] else None if np.isnan(values[row]) else values[row]


@pytest.mark.parametrize('cell', NUMBERS)
def test_a_number_does_not_depend_on_its_neighbours(cell):
    expected = NUMBERS[cell]
    assert _number(pa.array([cell]), 0) == expected
    for other in (*NUMBERS, None):
        assert _number(pa.array([cell, other]), 0) == expected, other
        assert _number(pa.array([other, cell]).dictionary_encode(), 1) == expected, other


VALUES = (0, 1, -3, 1.0, -0.0, 1.5, 1e15, 2.0**53, 1e16, 1e-7, 123456789012345.5, 0.1, 1e300)


@pytest.mark.parametrize('cell', VALUES)
def test_the_text_of_a_number_does_not_depend_on_its_neighbours(cell):
    (alone,) = texts(pa.array([cell]))[0].to_pylist()
    assert float(alone) == cell
    if cell == int(cell) and abs(cell) < 2**53:
        assert alone == str(int(cell))
    for other in (*VALUES, None, float('nan')):
        column = pa.array([cell, other], pa.float64())
        assert texts(column)[0][0].as_py() == alone, other
        assert texts(pa.array([[cell], [other]]))[0][0].as_py() == alone, other
    assert lists(pa.array([[0.25, cell]]))[0].to_pylist() == ['0.25', alone]


TEN = [
    pa.array([10]),
    pa.array([10], pa.int8()),
    pa.array([10], pa.uint64()),
    pa.array([10.0]),
    pa.array([10.0], pa.float32()),
    pa.array([np.float16(10)]),
    pa.array([decimal.Decimal(10)], pa.decimal128(20, 0)),
    pa.array([decimal.Decimal('10.00')], pa.decimal128(20, 2)),
    pa.array([decimal.Decimal(10)], pa.decimal256(50, 0)),
    pa.array(['10']),
    pa.array(['10'], pa.large_string()),
    pa.array([b'10']),
    pa.array(['10']).dictionary_encode(),
    pa.array([['10']]),
    pa.array([[10.0]], pa.large_list(pa.float64())),
    pa.array([[10]], pa.list_(pa.int64(), 1)),
]


@pytest.mark.parametrize('column', TEN, ids=lambda column: str(column.type))
def test_a_number_is_the_same_in_columns_of_every_type(column):
    assert texts(column)[0].to_pylist() == ['10']
    assert numbers(column)[0].tolist() == [10.0]
    assert lists(column)[0].to_pylist() == ['10']
    missing = pa.concat_arrays([column, pa.nulls(1, column.type)])
    assert texts(missing)[0].to_pylist() == ['10', None]
    assert numbers(missing)[1].tolist() == [False, False]


def test_other_values_are_texts_of_one_spelling():
    time = datetime.datetime(2020, 1, 2, 3, 4, 5)
    for unit in ('s', 'ms', 'us', 'ns'):
        column = pa.array([time, None], pa.timestamp(unit))
        assert texts(column)[0].to_pylist() == ['2020-01-02 03:04:05', None]
    half = pa.array([time.replace(microsecond=500_000)], pa.timestamp('ns'))
    assert texts(half)[0].to_pylist() == ['2020-01-02 03:04:05.5']
    assert texts(pa.array([True, None]))[0].to_pylist() == ['true', None]
    assert texts(pa.nulls(2))[0].to_pylist() == [None, None]
    assert texts(pa.array([decimal.Decimal('1.50')]))[0].to_pylist() == ['1.5']
    assert texts(pa.array([datetime.timedelta(1)]))[0].to_pylist() == ['1 day, 0:00:00']


def test_several_values_and_objects_are_not_single_values():
    column = pa.array([['a'], ['a', 'b'], [], None, [None]])
    text, invalid = texts(column)
    assert text.to_pylist() == ['a', None, None, None, None]
    assert invalid.tolist() == [False, True, False, False, False]
    _, invalid = texts(pa.array([{'a': 1}, None]))
    assert invalid.tolist() == [True, False]
    _, invalid = texts(pa.array([[['a']], [], None]))
    assert invalid.tolist() == [True, False, False]
    assert numbers(pa.array([[1], [1, 2]]))[1].tolist() == [False, True]
    _, _, invalid = lists(pa.array([[{'a': 1}], [], None]))
    assert invalid.tolist() == [True, False, False]


@pytest.mark.parametrize(
    'kind', [pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_(pa.int64(), 2)]
)
def test_lists_of_every_type_and_slices_of_them(kind):
    values = [[1, 2], None, [3, 4], [5, 6], None, [7, 8]]
    column = pa.array(values, kind)
    for begin, end in itertools.combinations(range(7), 2):
        part = column.slice(begin, end - begin)
        assert plain(part).to_pylist() == values[begin:end]
        flat, rows, invalid = lists(part)
        expected = [(n, str(v)) for n, row in enumerate(values[begin:end]) for v in row or []]
        assert list(zip(rows.tolist(), flat.to_pylist(), strict=True)) == expected
        assert not invalid.any()

"""Checking raw rows: what is taken, what is rejected and why."""

import datetime
import json

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    NumericFeature,
    SequenceFeature,
    SplitConfig,
)
from beam_jobs.rows.bucket import row_keys, sort_rows, with_earlier
from beam_jobs.rows.cells import join_columns
from beam_jobs.rows.validate_rows import row_schema, validate_rows
from mdctr.errors import UserError

FEATURES = [
    CategoricalFeature(name='user_id'),
    CategoricalFeature(name='item_id'),
    CategoricalFeature(name='brand'),
    NumericFeature(name='price'),
    SequenceFeature(name='tags', max_length=2),
    CategoricalFeature(name='hour'),
    CategoricalFeature(name='weekday'),
]


def config(**changes) -> DatasetConfig:
    settings = {
        'reader': 'none',
        'domain_columns': ['scene'],
        'features': FEATURES,
        'split': SplitConfig(by='user', fractions=(0.8, 0.1, 0.1)),
    }
    return DatasetConfig(**(settings | changes))


def batch(rows: int = 3, **columns) -> pa.RecordBatch:
    good = {
        'source': ['log.csv'] * rows,
        'line': list(range(1, rows + 1)),
        'user_id': ['u'] * rows,
        'item_id': ['i'] * rows,
        'timestamp': [1e9] * rows,
        'click': [1] * rows,
        'scene': ['s'] * rows,
        'brand': ['b'] * rows,
        'price': [1.5] * rows,
        'tags': [['t']] * rows,
    }
    return pa.RecordBatch.from_pydict(good | columns)


def reasons(**columns) -> list:
    """The reason against each row, None where there is none."""
    rows = len(next(iter(columns.values())))
    good, rejected = validate_rows(batch(rows, **columns), config())
    found = dict(zip(rejected['line'].to_pylist(), rejected['reason'].to_pylist(), strict=True))
    assert good.num_rows + rejected.num_rows == rows
    return [found.get(line) for line in range(1, rows + 1)]


def column(name: str, values, kind=None) -> list:
    if not isinstance(values, pa.Array):
        values = pa.array(values, kind)
    good, _ = validate_rows(batch(len(values), **{name: values}), config())
    return good[name if name in ('click', 'timestamp') else f'feature.{name}'].to_pylist()


def test_good_rows_have_the_schema_of_the_configuration():
    good, rejected = validate_rows(batch(), config())
    assert good.schema == row_schema(config())
    assert (good.num_rows, rejected.num_rows) == (3, 0)
    assert good['user'].to_pylist() == ['u'] * 3
    time = datetime.datetime.fromtimestamp(1e9, datetime.UTC)
    assert good['feature.hour'].to_pylist() == [str(time.hour)] * 3
    assert good['feature.weekday'].to_pylist() == [str(time.weekday())] * 3


def test_calendar_agrees_with_datetime_over_the_years():
    times = np.arange(0, 4e9, 1e7 + 12_345).tolist()
    good, _ = validate_rows(batch(len(times), timestamp=times), config())
    when = [datetime.datetime.fromtimestamp(t, datetime.UTC) for t in times]
    assert good['feature.hour'].to_pylist() == [str(t.hour) for t in when]
    assert good['feature.weekday'].to_pylist() == [str(t.weekday()) for t in when]


def test_ids_are_there_short_and_on_one_line():
    assert reasons(user_id=['', None, 'u' * 1024, 'ü' * 513, 'a\nb', 'x']) == [
        'user_id missing',
        'user_id missing',
        None,
        'user_id longer than 1024 bytes',
        'user_id with a line break',
        None,
    ]
    assert reasons(item_id=['a\rb', 'ok']) == ['item_id with a line break', None]
    assert reasons(scene=[None, 's']) == ['scene missing', None]


def test_first_reason_counts():
    assert reasons(user_id=['', 'u'], click=[7, 7]) == ['user_id missing', 'click not 0 or 1']


@pytest.mark.parametrize(
    ('given', 'reason'),
    [
        (-1.0, 'timestamp negative'),
        (None, 'timestamp missing'),
        (float('nan'), 'timestamp missing'),
        (1.6e12, 'timestamp after 2099'),
        (float('inf'), 'timestamp after 2099'),
        (0.0, None),
        (4102444799.0, None),
    ],
)
def test_timestamps_in_seconds(given, reason):
    assert reasons(timestamp=pa.array([given], pa.float64())) == [reason]


def test_timestamps_as_text():
    times = [
        '1e9',
        ' 1000000000.5 ',
        '2001-09-09 01:46:40',
        '2001-09-09T03:46:40+02:00',
        '2001-09-09',
        '',
    ]
    good, rejected = validate_rows(batch(7, timestamp=[*times, 'yesterday-ish']), config())
    assert good['timestamp'].to_pylist() == [1e9, 1e9 + 0.5, 1e9, 1e9, 999993600.0]
    assert rejected['reason'].to_pylist() == ['timestamp missing', 'timestamp not a time']


def test_timestamps_of_arrow_types():
    when = datetime.datetime(2001, 9, 9, 1, 46, 40, 500_000)
    assert column('timestamp', [when], pa.timestamp('ms')) == [1e9 + 0.5]
    assert column('timestamp', [when], pa.timestamp('ns')) == [1e9 + 0.5]
    assert column('timestamp', [when.date()], pa.date32()) == [999993600.0]


def test_clicks():
    assert column('click', ['0', '1', 'true', 'False', '1.0']) == [0, 1, 1, 0, 1]
    assert column('click', [True, False]) == [1, 0]
    assert column('click', ['TRUE', 'FALSE', '+1', '0.00']) == [1, 0, 1, 0]
    assert column('click', [0.0, 1.0]) == [0, 1]
    assert reasons(click=['yes', None, '2', '']) == [
        'click not 0 or 1',
        'click missing',
        'click not 0 or 1',
        'click missing',
    ]
    assert reasons(click=[0.5, -1.0]) == ['click not 0 or 1'] * 2


def test_numeric_features():
    assert column('price', ['1', ' 2.5e1 ', None, '']) == [1.0, 25.0, None, None]
    assert column('price', [float('nan'), 2.0]) == [None, 2.0]
    assert reasons(price=['1', 'cheap', '1.2.3', '']) == [
        None,
        'price not a number',
        'price not a number',
        None,
    ]
    assert reasons(price=[float('inf'), 1.0]) == ['price not a number', None]


def test_categorical_features_of_any_type():
    assert column('brand', [1, 2, None]) == ['1', '2', None]
    assert column('brand', [1.0, 2.0, None]) == ['1', '2', None]
    assert column('brand', [1.5, 2.0, float('nan')]) == ['1.5', '2', None]
    assert column('brand', ['', 'x', None]) == [None, 'x', None]
    assert column('brand', pa.array(['x', None, 'x']).dictionary_encode()) == ['x', None, 'x']


def test_sequences_lose_what_is_missing_and_what_is_too_much():
    lists = [['a', None, '', 'b', 'c'], None, [], ['d']]
    assert column('tags', lists, pa.list_(pa.string())) == [['a', 'b'], [], [], ['d']]
    assert column('tags', [[3, 4, 5]], pa.list_(pa.int64())) == [['3', '4']]
    assert column('tags', ['x', None]) == [['x'], []]


def test_sequences_of_a_sliced_batch():
    lists = [['a'], ['b', 'c'], ['d'], ['e', 'f', 'g']]
    good, _ = validate_rows(batch(4, tags=lists).slice(1, 3), config())
    assert good['feature.tags'].to_pylist() == [['b', 'c'], ['d'], ['e', 'f']]


def test_domain_of_several_columns():
    good, rejected = validate_rows(
        batch(2, age=['3', None]), config(domain_columns=['scene', 'age'])
    )
    assert good['domain'].to_pylist() == ['s|3']
    assert rejected['reason'].to_pylist() == ['age missing']


def test_different_columns_are_different_domains():
    values = ['', 'a', 'a|', '|a', '|', '||', '\\', 'a\\', '\\|', '|\\', '\\\\|', 'a\\|b', 'b']
    pairs = [(one, other) for one in values for other in values]
    one, other = (pa.array(column) for column in zip(*pairs, strict=True))
    joined = join_columns([one, other]).to_pylist()
    assert len(set(joined)) == len(pairs)
    for pair, text in zip(pairs, joined, strict=True):
        if not any('|' in value for value in pair):
            assert text == '|'.join(pair)
    assert join_columns([one]).to_pylist() == one.to_pylist()


def test_domains_of_values_with_separators_are_told_apart():
    good, _ = validate_rows(
        batch(2, scene=['a|b', 'a'], age=['c', 'b|c']), config(domain_columns=['scene', 'age'])
    )
    assert good['domain'].to_pylist() == ['a\\|b|c', 'a|b\\|c']


def test_rejected_rows_keep_their_place_and_content():
    _, rejected = validate_rows(
        batch(3, click=[1, 9, 1], brand=['é"\n', 'é"\n', 'x']), config()
    )
    row = rejected.to_pylist()[0]
    assert (row['source'], row['line'], row['reason']) == ('log.csv', 2, 'click not 0 or 1')
    assert json.loads(row['row'])['brand'] == 'é"\n'


def test_missing_column_is_named_with_those_that_are_there():
    without = batch().to_pydict()
    del without['brand']
    with pytest.raises(UserError, match=r'no column brand.*feature brand.*user_id.*tags'):
        validate_rows(pa.RecordBatch.from_pydict(without), config())


def test_a_list_in_a_cell_costs_only_its_row():
    assert reasons(brand=[['x'], ['x', 'y'], None]) == [
        None,
        'brand not a single value (lists need kind: sequence)',
        None,
    ]
    assert reasons(price=[[1.0], [1.0, 2.0]]) == [None, 'price not a number']
    assert reasons(user_id=[['u'], ['u', 'v']]) == [None, 'user_id not a single value']
    assert reasons(tags=[[{'a': 1}], []]) == ['tags not a list of single values', None]
    assert column('brand', [['x'], []], pa.list_(pa.string())) == ['x', None]
    assert column('price', [[1.5], []], pa.list_(pa.float64())) == [1.5, None]


def test_a_rejected_row_of_a_distant_time_is_kept():
    when = datetime.datetime(9999, 12, 31)
    assert reasons(timestamp=pa.array([when], pa.timestamp('us'))) == ['timestamp after 2099']


def test_times_without_a_date_are_rejected():
    times = pa.array([datetime.time(12), None], pa.time32('s'))
    assert reasons(timestamp=times) == ['timestamp not a time', 'timestamp missing']
    days = pa.array([datetime.timedelta(1), None])
    assert reasons(timestamp=days) == ['timestamp not a time', 'timestamp missing']


def test_rows_that_are_kept_have_an_order_and_keys_of_their_own():
    rows = batch(6, timestamp=[1.0] * 6, click=[0, 1, 0, 0, 1, 0])
    validated = pa.Table.from_batches([validate_rows(rows, config())[0]])
    orders = [[0, 1, 2, 3, 4, 5], [5, 3, 1, 4, 2, 0]]
    tables = []
    for order in orders:
        table, dropped = sort_rows(validated.take(pa.array(order)), keep_duplicates=True)
        assert dropped == 0 and len(set(row_keys(table).tolist())) == 6
        tables.append(table)
    assert tables[0].equals(tables[1])
    assert tables[0]['click'].to_pylist() == [1, 1, 0, 0, 0, 0]
    once, dropped = sort_rows(validated)
    assert dropped == 5 and row_keys(once)[0] == row_keys(tables[0])[0]


def test_repeats_of_a_dataset_that_is_extended_are_dropped_even_so():
    rows = batch(4, timestamp=[1.0, 1.0, 2.0, 2.0])
    validated = pa.Table.from_batches([validate_rows(rows, config())[0]])
    earlier, _ = sort_rows(validated.slice(0, 1))
    table, dropped = sort_rows(with_earlier(validated, [earlier]), keep_duplicates=True)
    assert dropped == 2  # of the row at 1.0, which has been there
    assert table['timestamp'].to_pylist() == [1.0, 2.0, 2.0]
    assert table['earlier'].to_pylist() == [True, False, False]

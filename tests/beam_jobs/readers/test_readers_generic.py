"""A user's own log in every format: the same rows, and the same refusals."""

import datetime
import decimal
import gzip
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.readers.base import Shard
from beam_jobs.readers.json_lines import read_json_lines
from mdctr.errors import UserError
from tests.beam_jobs.reading import config_of, read_all, read_and_validate, reader_of

COLUMNS = {'user_id': 'who', 'item_id': 'sku', 'timestamp': 'at', 'click': 'label'}
ROWS = [
    {
        'who': f'u{n % 7}',
        'sku': f'é{n % 5}',
        'at': 1577836800 + n,
        'label': n % 2,
        'price': n / 4,
        'tags': ['a', f'b{n % 3}'][: n % 3],
        'shop': 's',
    }
    for n in range(300)
]


def _write_csv(path, rows):
    names = list(rows[0])
    lines = [
        ','.join('|'.join(row[name]) if name == 'tags' else str(row[name]) for name in names)
        for row in rows
    ]
    path.write_text('\n'.join([','.join(names), *lines]) + '\n', encoding='utf-8')


def _write_jsonl(path, rows):
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def _write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=70)


def _example(row) -> bytes:
    import tensorflow as tf

    def feature(value):
        values = value if isinstance(value, list) else [value]
        if all(isinstance(part, int) for part in values) and values:
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        if all(isinstance(part, float) for part in values) and values:
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        values = [part.encode() if isinstance(part, str) else part for part in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    features = {name: feature(value) for name, value in row.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _write_tfrecord(path, rows):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            writer.write(row if isinstance(row, bytes) else _example(row))


WRITERS = {
    'log.csv': _write_csv,
    'log.jsonl': _write_jsonl,
    'log.parquet': _write_parquet,
    'log.tfrecord': _write_tfrecord,
}


def _read(path, **options):
    options = {'columns': COLUMNS, 'list_columns': ['tags'], **options}
    return read_all(
        reader_of('generic', [str(path)], options, columns=('price', 'tags', 'shop'))
    )


def _list(value) -> list:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


@pytest.mark.parametrize('name', WRITERS)
def test_every_format_gives_the_same_rows(tmp_path, name):
    WRITERS[name](tmp_path / name, ROWS)
    rows, rejected = _read(tmp_path / name)
    assert rejected.empty
    assert rows['line'].tolist() == [n + 1 + (name == 'log.csv') for n in range(300)]
    assert set(rows['source']) == {name}
    assert rows['user_id'].tolist() == [row['who'] for row in ROWS]
    assert rows['item_id'].tolist() == [row['sku'] for row in ROWS]
    assert rows['timestamp'].astype(float).tolist() == [row['at'] for row in ROWS]
    assert rows['click'].astype(int).tolist() == [row['label'] for row in ROWS]
    assert rows['price'].astype(float).tolist() == [row['price'] for row in ROWS]
    assert list(map(_list, rows['tags'])) == [row['tags'] for row in ROWS]


def test_several_files_and_gzip(tmp_path):
    _write_csv(tmp_path / 'b.csv', ROWS[:5])
    with gzip.open(tmp_path / 'a.csv.gz', 'wb') as file:
        file.write((tmp_path / 'b.csv').read_bytes())
    rows, _ = _read(tmp_path)
    assert rows['source'].tolist() == ['a.csv.gz'] * 5 + ['b.csv'] * 5
    assert rows['user_id'].tolist() == [row['who'] for row in ROWS[:5]] * 2


@pytest.mark.parametrize(
    ('options', 'values', 'expected'),
    [
        ({}, ['7', '', '+1e1', '2020-01-01'], [7.0, None, 10.0, 'not a number']),
        ({'timestamp_unit': 'ms'}, ['1500', '2000', '1e9'], [1.5, 2.0, 1e6]),
        ({'timestamp_unit': 'us'}, ['1500000', 'x', 'nan'], [1.5, 'not a number', None]),
        (
            {'timestamp_unit': 'iso'},
            ['2020-01-01 00:00', '5', '20200101', '14102100', '1/2/2020'],
            [1577836800.0, 'not in ISO 8601', 1577836800.0, *['not in ISO 8601'] * 2],
        ),
        (
            {'timestamp_format': '%y%m%d%H'},
            ['14102100', '14102101', '', '2014-10-21'],
            [1413849600.0, 1413853200.0, None, 'not in the format %y%m%d%H'],
        ),
        (
            {'timestamp_format': '%d/%m/%Y %H:%M'},
            ['11/10/2026 00:00', '13/10/2026 00:00', '10/13/2026 00:00'],
            [1791676800.0, 1791849600.0, 'not in the format %d/%m/%Y %H:%M'],
        ),
    ],
)
def test_timestamps_have_one_format(tmp_path, options, values, expected):
    _write_csv(
        tmp_path / 'log.csv', [{**row, 'at': at} for row, at in zip(ROWS, values, strict=False)]
    )
    rows, rejected = _read(tmp_path / 'log.csv', **options)
    times = dict(zip(rows['line'], rows['timestamp'], strict=True))
    reasons = dict(zip(rejected['line'], rejected['reason'], strict=True))
    for line, wanted in enumerate(expected, start=2):
        if isinstance(wanted, str):
            assert wanted in reasons[line]
        else:
            assert times[line] == wanted or (wanted is None and np.isnan(times[line]))


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'timestamp_format': '%H:%M'}, 'lacks the year, the month or the day'),
        ({'timestamp_format': '%Y-%m-%d %Z'}, 'names of time zones cannot be read'),
        ({'timestamp_format': '%Y-%m-%d', 'timestamp_unit': 'iso'}, 'exclude each other'),
    ],
)
def test_a_wrong_timestamp_format_is_refused(tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        reader_of('generic', [str(tmp_path)], options)


def test_positives_only_and_another_dialect(tmp_path):
    (tmp_path / 'log.txt').write_text("u1;'a;b';7\nu2;c;8\nu3;c\n")
    rows, rejected = read_all(
        reader_of(
            'generic',
            [str(tmp_path / 'log.txt')],
            {
                'separator': ';',
                'quote': "'",
                'column_names': ['user_id', 'item_id', 'timestamp'],
                'positives_only': True,
            },
        )
    )
    assert rows['item_id'].tolist() == ['a;b', 'c'] and rows['click'].tolist() == [1, 1]
    assert rows['line'].tolist() == [1, 2] and rejected['line'].tolist() == [3]


def test_tables_are_joined(tmp_path):
    _write_jsonl(tmp_path / 'log.jsonl', ROWS[:6])
    _write_csv(
        tmp_path / 'users.csv',
        [{'id': f'u{n}', 'age': 20 + n, 'tags': ['x', 'y']} for n in (3, 0, 1)],
    )
    pq.write_table(
        pa.table({'item_id': ['é0', 'é1'], 'colour': ['red', None]}), tmp_path / 'items.parquet'
    )
    reader = reader_of(
        'generic',
        [str(tmp_path / 'log.jsonl')],
        {
            'columns': {**COLUMNS, 'log_tags': 'tags'},
            'list_columns': ['tags'],
            'tables': [
                {'path': str(tmp_path / 'users.csv'), 'on': 'user_id', 'key': 'id'},
                {'path': str(tmp_path / 'items.parquet'), 'on': 'item_id'},
            ],
        },
        columns=('age', 'tags', 'colour'),
    )
    assert [path.rsplit('/')[-1] for path in reader.files()] == [
        'log.jsonl',
        'users.csv',
        'items.parquet',
    ]
    rows, _ = read_all(reader)
    assert rows['age'].tolist() == ['20', '21', None, '23', None, None]
    assert [_list(value) for value in rows['tags']] == [
        ['x', 'y'],
        ['x', 'y'],
        [],
        ['x', 'y'],
        [],
        [],
    ]
    assert rows['colour'].tolist() == ['red', None, None, None, None, 'red']


def test_a_bad_line_of_json_costs_only_itself(tmp_path):
    lines = [json.dumps(row).encode() for row in ROWS]
    lines[40] = b'{"who": "u1", '
    lines[41] = b'[1, 2]'
    lines[100] = b'{"who": "\xff"}'
    lines[101] = b''
    lines[250] = lines[250].replace(b'"label": 0', b'"label": "0"')  # another type
    (tmp_path / 'log.jsonl').write_bytes(b'\n'.join(lines))
    rows, rejected = _read(tmp_path / 'log.jsonl')
    assert rejected[['line', 'reason']].values.tolist() == [
        [41, 'not a JSON object'],
        [42, 'not a JSON object'],
        [101, 'not UTF-8'],
    ]
    expected = [row for n, row in enumerate(ROWS) if n not in (40, 41, 100, 101)]
    assert rows['user_id'].tolist() == [row['who'] for row in expected]
    assert rows['click'].astype(int).tolist() == [row['label'] for row in expected]
    assert rows['price'].astype(float).tolist() == [row['price'] for row in expected]
    assert list(map(_list, rows['tags'])) == [row['tags'] for row in expected]


def test_json_keeps_what_was_written(tmp_path):
    """Dates stay texts in every block, and great numbers exact."""
    rows = [{'day': '2020-01-01', 'id': n, 'days': ['2020-01-02']} for n in range(50)]
    rows[30]['id'] = 12345678901234567891
    rows[40]['day'] = 'unknown'
    _write_jsonl(tmp_path / 'a.jsonl', rows)
    for size in (100, 1 << 20):
        blocks = list(read_json_lines(Shard(str(tmp_path / 'a.jsonl')), size))
        days = [day for block in blocks for day in block.columns['day'].to_pylist()]
        ids = [str(number) for block in blocks for number in block.columns['id'].to_pylist()]
        assert days == [row['day'] for row in rows]
        assert ids == [str(row['id']) for row in rows]
        assert [day for block in blocks for day in block.columns['days'].to_pylist()] == [
            ['2020-01-02']
        ] * 50


def test_what_json_nests_costs_only_its_lines(tmp_path):
    lines = [json.dumps(row) for row in ROWS]
    deep = '[' * 10_000 + ']' * 10_000
    lines[3] = lines[3][:-1] + f', "more": {deep}' + '}'
    lines[5] = lines[5][:-1] + ', "more": {"a": {"b": 1}}}'
    lines[7] = lines[7][:-1] + ', "more": "' + '[' * 500 + '"}'
    lines[9] = lines[9].replace('"shop": "s"', '"shop": ["s"]')
    lines[11] = lines[11].replace('"shop": "s"', '"shop": {"s": 1}')
    (tmp_path / 'log.jsonl').write_text('\n'.join(lines))
    config = config_of(tmp_path / 'log.jsonl', columns=COLUMNS)
    rows, rejected = read_and_validate(config)
    assert rejected == {
        4: 'nested more than 100 levels deep',
        12: 'shop not a single value',
    }
    assert [row['domain'] for row in rows] == ['s'] * 298


def test_a_list_column_of_json_does_not_depend_on_the_neighbours(tmp_path):
    """A text is split whether or not another row of its block has a list."""
    values = [['a', 'b'], 'a|b', ['a|b'], 'a', [], None, ['a|b', 'c']]
    expected = [['a', 'b'], ['a', 'b'], ['a', 'b'], ['a'], [], [], ['a|b', 'c']]
    for order in (range(7), [1], [2, 1], [1, 3], [0, 6]):
        rows = [{**ROWS[0], 'at': n, 'tags': values[n]} for n in order]
        _write_jsonl(tmp_path / 'log.jsonl', rows)
        read, _ = _read(tmp_path / 'log.jsonl')
        assert list(map(_list, read['tags'])) == [expected[n] for n in order]


def test_a_list_column_of_examples_does_not_depend_on_the_neighbours(tmp_path):
    for others in ([], [['c', 'd']]):
        rows = [{**ROWS[0], 'tags': tags} for tags in (['a|b'], *others)]
        _write_tfrecord(tmp_path / 'log.tfrecord', rows)
        read, _ = _read(tmp_path / 'log.tfrecord')
        assert _list(read['tags'].iloc[0]) == ['a', 'b']


def test_escaped_quotes(tmp_path):
    lines = ['user_id,item_id,timestamp,click,shop']
    lines += [r'u1,"a\"b,c",1,0,s', r'u2,"back\\",2,0,s', r'u3,"open\",3,0,s', 'u4,d,4,0,s']
    (tmp_path / 'log.csv').write_text('\n'.join(lines) + '\n')
    rows, rejected = read_all(
        reader_of('generic', [str(tmp_path / 'log.csv')], {'escape': '\\'})
    )
    assert rows['item_id'].tolist() == ['a"b,c', 'back\\', 'd']
    assert rejected[['line', 'reason']].values.tolist() == [[4, 'unbalanced quotes']]


def test_parquet_files_of_several_writers(tmp_path):
    """Types that Spark, pandas and DuckDB choose for the same values are one column."""
    users = {
        'a': pa.array([], pa.int64()),  # no row group
        'b': pa.nulls(2),
        'c': pa.array([1, 2]),
        'd': pa.array([1.0, None]),
        'e': pa.array([decimal.Decimal(1), None], pa.decimal128(20, 0)),
    }
    for name, user in users.items():
        size = len(user)
        shop = pa.array(['s'] * size, pa.large_string() if name == 'd' else pa.string())
        table = (
            pa.table(
                {
                    'user_id': user,
                    'item_id': ['i', 'j'][:size],
                    'timestamp': pa.array([1, 2][:size], pa.int64()),
                    'click': pa.array([0, 1][:size], pa.int64()),
                    'shop': shop,
                }
            )
            if size
            else pa.table(
                {n: pa.nulls(0) for n in ('user_id', 'item_id', 'timestamp', 'click', 'shop')}
            )
        )
        pq.write_table(table, tmp_path / f'{name}.parquet')
    (tmp_path / 'f.parquet').touch()
    rows, rejected = read_and_validate(config_of(tmp_path))
    assert [row['user'] for row in rows] == ['1', '2', '1', '1']
    assert set(rejected.values()) == {'user_id missing'}


def test_parquet_times_and_lists_of_every_kind(tmp_path):
    times = pa.array([1_500_000_001, 2_500_000_001]).cast(pa.timestamp('ns'))
    table = pa.table(
        {
            'user_id': ['u', 'v'],
            'item_id': ['i', 'j'],
            'timestamp': times,
            'click': [0, 1],
            'shop': [['s'], ['s']],
            'tags': pa.array([['a', 'b'], ['c', None]], pa.list_(pa.string(), 2)),
        }
    )
    path = tmp_path / 'log.parquet'
    pq.write_table(table, path, version='2.6')
    tags = [{'name': 'tags', 'kind': 'sequence', 'max_length': 3}]
    rows, rejected = read_and_validate(config_of(path, features=tags))
    assert [row['timestamp'] for row in rows] == [1.5, 2.5]
    assert [row['feature.tags'] for row in rows] == [['a', 'b'], ['c']] and not rejected
    for wrong in (
        pa.array([datetime.time(1)] * 2, pa.time32('s')),
        pa.array([datetime.timedelta(1)] * 2),
    ):
        pq.write_table(table.set_column(2, 'timestamp', wrong), path)
        _, rejected = read_and_validate(config_of(path, features=tags))
        assert rejected == {1: 'timestamp not a time', 2: 'timestamp not a time'}


def test_two_columns_of_one_name_are_one_sentence(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ['who', 'who'])
    pq.write_table(table, tmp_path / 'log.parquet')
    with pytest.raises(UserError, match=r'log.parquet has two columns who: rename one of them'):
        _read(tmp_path / 'log.parquet')


@pytest.mark.parametrize('content', ['item_id,brand\n', 'item_id,brand\n,x\n'])
def test_a_joined_table_without_rows(tmp_path, content):
    _write_jsonl(tmp_path / 'log.jsonl', ROWS[:3])
    (tmp_path / 'items.csv').write_text(content)
    tables = [{'path': str(tmp_path / 'items.csv'), 'on': 'item_id'}]
    with pytest.raises(
        UserError, match='items.csv, a table of .*tables, has no row with a key'
    ):
        _read(tmp_path / 'log.jsonl', tables=tables)


def test_line_ends_of_the_old_macintosh_are_one_sentence(tmp_path):
    (tmp_path / 'log.csv').write_bytes(b'who,sku,at,label\ru,i,1,0\r')
    with pytest.raises(UserError, match='carriage return in its first line: end its lines'):
        _read(tmp_path / 'log.csv')


def test_empty_parts_of_every_format(tmp_path):
    for name, write in WRITERS.items():
        folder = tmp_path / name.replace('.', '-')
        folder.mkdir()
        write(folder / name, ROWS[:4])
        (folder / f'a{name}').touch()
        if name != 'log.parquet':
            (folder / f'b{name}.gz').write_bytes(gzip.compress(b''))
        rows, rejected = _read(folder)
        assert len(rows) == 4 and rejected.empty


def test_json_fields_may_be_absent(tmp_path):
    rows = [dict(row) for row in ROWS]
    for row in rows[20:]:
        del row['price']
    _write_jsonl(tmp_path / 'log.jsonl', rows)
    (tmp_path / 'log2.jsonl').write_text('{"who": "u9", "sku": "x", "at": null, "label": 1}\n')
    read, _ = _read(tmp_path / '*.jsonl')
    assert read['price'].astype(float).notna().sum() == 20
    assert read['user_id'].iloc[-1] == 'u9' and math.isnan(
        float(read['timestamp'].iloc[-1] or 'nan')
    )


def test_bad_records_of_examples(tmp_path):
    rows = [
        _example({**row, 'who': b'\xff' if n == 7 else row['who']})
        for n, row in enumerate(ROWS)
    ]
    rows[100] = b'\x01\x02garbage'
    _write_tfrecord(tmp_path / 'log.tfrecord', rows)
    read, rejected = _read(tmp_path / 'log.tfrecord')
    assert rejected[['line', 'reason']].values.tolist() == [
        [8, 'who not UTF-8'],
        [101, 'not a tf.Example'],
    ]
    assert read['line'].tolist() == [n for n in range(1, 301) if n not in (8, 101)]
    path = tmp_path / 'log.tfrecord'
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match='log.tfrecord is truncated or not a TFRecord file'):
        _read(path)


def test_parquet_bytes_that_are_no_text(tmp_path):
    table = pa.Table.from_pylist(ROWS[:10])
    names = [str(row['who']).encode() for row in ROWS[:10]]
    names[4] = b'\xc3('
    pq.write_table(table.set_column(0, 'who', pa.array(names)), tmp_path / 'log.parquet')
    rows, rejected = _read(tmp_path / 'log.parquet')
    assert rejected[['line', 'reason']].values.tolist() == [[5, 'who not UTF-8']]
    assert rows['user_id'].tolist() == [row['who'] for n, row in enumerate(ROWS[:10]) if n != 4]


def test_parquet_row_groups_are_shards_with_their_lines(tmp_path):
    _write_parquet(tmp_path / 'log.parquet', ROWS)
    reader = reader_of('generic', [str(tmp_path / 'log.parquet')], {'columns': COLUMNS})
    assert [(shard.part, shard.first_line) for shard in reader.shards()] == [
        (0, 1),
        (1, 71),
        (2, 141),
        (3, 211),
        (4, 281),
    ]


def test_damaged_parquet(tmp_path):
    path = tmp_path / 'log.parquet'
    path.write_bytes(b'no parquet at all')
    with pytest.raises(UserError, match=r'log.parquet is not a Parquet file \(.+\)\.$'):
        _read(path)
    _write_parquet(path, ROWS)
    content = bytearray(path.read_bytes())
    content[4:200] = np.random.default_rng(1).bytes(196)
    path.write_bytes(content)
    with pytest.raises(UserError, match='log.parquet is damaged'):
        _read(path)


def test_another_header_names_the_file(tmp_path):
    _write_csv(tmp_path / 'a.csv', ROWS)
    _write_csv(tmp_path / 'b.csv', [dict(reversed(row.items())) for row in ROWS])
    rows, _ = _read(tmp_path)  # another order is none
    assert rows['price'].tolist() == [str(row['price']) for row in ROWS] * 2
    _write_csv(
        tmp_path / 'b.csv', [{k: v for k, v in row.items() if k != 'price'} for row in ROWS]
    )
    with pytest.raises(
        UserError, match='b.csv has another header than .*a.csv: it has no column price'
    ):
        _read(tmp_path)


def test_another_schema_names_the_file(tmp_path):
    _write_parquet(tmp_path / 'a.parquet', ROWS)
    _write_parquet(tmp_path / 'b.parquet', [{**row, 'price': 'dear'} for row in ROWS])
    with pytest.raises(UserError) as error:
        _read(tmp_path)
    assert str(error.value) == (
        f'{tmp_path}/b.parquet has another schema than {tmp_path}/a.parquet: its column price '
        'is string, not double.'
    )
    _write_parquet(tmp_path / 'b.parquet', [{'who': 'u'}])
    with pytest.raises(UserError, match='b.parquet has another schema .* no column sku'):
        _read(tmp_path)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (
            {'columns': {'user_id': 'nobody'}},
            'has no column nobody (dataset.reader_options.columns.user_id)',
        ),
        (
            {'columns': {}},
            'has no column user_id: say which of its columns (who, sku, at, label',
        ),
        ({'separator': ''}, 'separator must have at least 1 character'),
        ({'columns': {'user_id': 'x', 'item_id': 'x'}}, 'two names refer to the same column'),
        ({'timestamp_unit': 'h'}, 'timestamp_unit must be one of s, ms, us, iso'),
        (
            {'tables': [{'path': '/nowhere/t.csv', 'on': 'user_id'}]},
            'No file matches /nowhere/t.csv',
        ),
    ],
)
def test_mistakes(tmp_path, options, sentence):
    _write_csv(tmp_path / 'log.csv', ROWS[:3])
    with pytest.raises(UserError) as error:
        _read(tmp_path / 'log.csv', **options)
    assert sentence in str(error.value) and '\n' not in str(error.value)


def test_unknown_and_mixed_formats(tmp_path):
    (tmp_path / 'log.xyz').write_text('a,b\n1,2\n')
    with pytest.raises(UserError, match='log.xyz does not show its format'):
        _read(tmp_path / 'log.xyz')
    _write_csv(tmp_path / 'log.csv', ROWS[:3])
    _write_jsonl(tmp_path / 'log.jsonl', ROWS[:3])
    with pytest.raises(UserError, match='mixes csv and jsonl files'):
        _read(tmp_path / 'log.[cj]*')
    with pytest.raises(UserError, match='The reader generic needs the files of a log'):
        reader_of('generic')
    with pytest.raises(
        UserError, match=r'no reader generics; did you mean generic\? There are ali-ccp, '
    ):
        reader_of('generics')


@pytest.mark.parametrize('name', WRITERS)
def test_a_value_means_the_same_alone_and_among_others_in_every_format(tmp_path, name):
    ids = {'10': 10, '1.5': 1.5, '0.25': 0.25, 'guest': 'guest', '007': '007'}
    mixed = name in ('log.csv', 'log.jsonl')  # the others give a column one type
    groups = [list(ids)] if mixed else [['1.5', '0.25'], ['guest', '007']]
    for texts in [*([text] for text in ids), *groups]:
        values = [ids[text] for text in texts]
        if name == 'log.jsonl':  # 10.0 next to 1.5, and to text
            values = [float(value) if value == 10 else value for value in values]
        rows = [{**ROWS[0], 'who': value, 'at': n} for n, value in enumerate(values)]
        WRITERS[name](tmp_path / name, rows)
        read, rejected = read_and_validate(config_of(tmp_path / name, columns=COLUMNS))
        assert [row['user'] for row in read] == texts and not rejected

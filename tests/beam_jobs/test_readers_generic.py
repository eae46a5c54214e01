"""A user's own log in every format: the same rows, and the same refusals."""

import gzip
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.errors import UserError
from beam_jobs.readers.base import Shard
from beam_jobs.readers.json_lines import read_json_lines
from tests.beam_jobs.reading import read_all, reader_of

COLUMNS = {'user_id': 'who', 'item_id': 'sku', 'timestamp': 'at', 'click': 'label'}
ROWS = [{'who': f'u{n % 7}', 'sku': f'é{n % 5}', 'at': 1577836800 + n, 'label': n % 2,
         'price': n / 4, 'tags': ['a', f'b{n % 3}'][:n % 3], 'shop': 's'} for n in range(300)]


def _write_csv(path, rows):
    names = list(rows[0])
    lines = [','.join('|'.join(row[name]) if name == 'tags' else str(row[name])
                      for name in names) for row in rows]
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


WRITERS = {'log.csv': _write_csv, 'log.jsonl': _write_jsonl, 'log.parquet': _write_parquet,
           'log.tfrecord': _write_tfrecord}


def _read(path, **options):
    options = {'columns': COLUMNS, 'lists': ['tags'], **options}
    return read_all(reader_of('generic', [str(path)], options,
                              columns=('price', 'tags', 'shop')))


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


@pytest.mark.parametrize(('unit', 'values', 'expected'), [
    ('ms', ['1500', '2000'], [1.5, 2.0]), ('us', ['1500000', 'x'], ['1.5', 'x']),
    ('s', ['7', ''], ['7', '']), ('iso', ['2020-01-01 00:00', '5'], ['2020-01-01 00:00', '5'])])
def test_units_of_time(tmp_path, unit, values, expected):
    _write_csv(tmp_path / 'log.csv', [{**row, 'at': at}
                                      for row, at in zip(ROWS, values, strict=False)])
    rows, _ = _read(tmp_path / 'log.csv', timestamp_unit=unit)
    if unit == 's':
        assert [float(at) if at else at for at in rows['timestamp']] == [7.0, '']
    else:
        assert rows['timestamp'].tolist() == expected


def test_positives_only_and_another_dialect(tmp_path):
    (tmp_path / 'log.txt').write_text("u1;'a;b';7\nu2;c;8\nu3;c\n")
    rows, rejected = read_all(reader_of('generic', [str(tmp_path / 'log.txt')], {
        'separator': ';', 'quote': "'", 'header': ['user_id', 'item_id', 'timestamp'],
        'positives_only': True}))
    assert rows['item_id'].tolist() == ['a;b', 'c'] and rows['click'].tolist() == [1, 1]
    assert rows['line'].tolist() == [1, 2] and rejected['line'].tolist() == [3]


def test_tables_are_joined(tmp_path):
    _write_jsonl(tmp_path / 'log.jsonl', ROWS[:6])
    _write_csv(tmp_path / 'users.csv', [{'id': f'u{n}', 'age': 20 + n, 'tags': ['x', 'y']}
                                        for n in (3, 0, 1)])
    pq.write_table(pa.table({'item_id': ['é0', 'é1'], 'colour': ['red', None]}),
                   tmp_path / 'items.parquet')
    reader = reader_of('generic', [str(tmp_path / 'log.jsonl')], {
        'columns': {**COLUMNS, 'log_tags': 'tags'}, 'lists': ['tags'],
        'tables': [{'path': str(tmp_path / 'users.csv'), 'on': 'user_id', 'key': 'id'},
                   {'path': str(tmp_path / 'items.parquet'), 'on': 'item_id'}]},
        columns=('age', 'tags', 'colour'))
    assert [path.rsplit('/')[-1] for path in reader.files()] == ['log.jsonl', 'users.csv',
                                                                 'items.parquet']
    rows, _ = read_all(reader)
    assert rows['age'].tolist() == ['20', '21', None, '23', None, None]
    assert [_list(value) for value in rows['tags']] == [['x', 'y'], ['x', 'y'], [],
                                                        ['x', 'y'], [], []]
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
        [41, 'not a JSON object'], [42, 'not a JSON object'], [101, 'not UTF-8']]
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
            ['2020-01-02']] * 50


def test_json_fields_may_be_absent(tmp_path):
    rows = [dict(row) for row in ROWS]
    for row in rows[20:]:
        del row['price']
    _write_jsonl(tmp_path / 'log.jsonl', rows)
    (tmp_path / 'log2.jsonl').write_text('{"who": "u9", "sku": "x", "at": null, "label": 1}\n')
    read, _ = _read(tmp_path / '*.jsonl')
    assert read['price'].astype(float).notna().sum() == 20
    assert read['user_id'].iloc[-1] == 'u9' and math.isnan(float(read['timestamp'].iloc[-1]
                                                                 or 'nan'))


def test_bad_records_of_examples(tmp_path):
    rows = [_example({**row, 'who': b'\xff' if n == 7 else row['who']})
            for n, row in enumerate(ROWS)]
    rows[100] = b'\x01\x02garbage'
    _write_tfrecord(tmp_path / 'log.tfrecord', rows)
    read, rejected = _read(tmp_path / 'log.tfrecord')
    assert rejected[['line', 'reason']].values.tolist() == [[8, 'who not UTF-8'],
                                                            [101, 'not a tf.Example']]
    assert read['line'].tolist() == [n for n in range(1, 301) if n not in (8, 101)]
    path = tmp_path / 'log.tfrecord'
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match='log.tfrecord is cut short or no TFRecord file'):
        _read(path)


def test_parquet_bytes_that_are_no_text(tmp_path):
    table = pa.Table.from_pylist(ROWS[:10])
    names = [row['who'].encode() for row in ROWS[:10]]
    names[4] = b'\xc3('
    pq.write_table(table.set_column(0, 'who', pa.array(names)), tmp_path / 'log.parquet')
    rows, rejected = _read(tmp_path / 'log.parquet')
    assert rejected[['line', 'reason']].values.tolist() == [[5, 'who not UTF-8']]
    assert rows['user_id'].tolist() == [row['who'] for n, row in enumerate(ROWS[:10]) if n != 4]


def test_parquet_row_groups_are_shards_with_their_lines(tmp_path):
    _write_parquet(tmp_path / 'log.parquet', ROWS)
    reader = reader_of('generic', [str(tmp_path / 'log.parquet')], {'columns': COLUMNS})
    assert [(shard.part, shard.first_line) for shard in reader.shards()] == [
        (0, 1), (1, 71), (2, 141), (3, 211), (4, 281)]


def test_damaged_parquet(tmp_path):
    path = tmp_path / 'log.parquet'
    path.write_bytes(b'no parquet at all')
    with pytest.raises(UserError, match=r'log.parquet is no Parquet file \(.+\)\.$'):
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
    _write_csv(tmp_path / 'b.csv', [{k: v for k, v in row.items() if k != 'price'}
                                    for row in ROWS])
    with pytest.raises(UserError, match='b.csv has another header than .*a.csv: it has no '
                       'column price'):
        _read(tmp_path)


def test_another_schema_names_the_file(tmp_path):
    _write_parquet(tmp_path / 'a.parquet', ROWS)
    _write_parquet(tmp_path / 'b.parquet', [{**row, 'price': 'dear'} for row in ROWS])
    with pytest.raises(UserError) as error:
        _read(tmp_path)
    assert str(error.value) == (
        f'{tmp_path}/b.parquet has another schema than {tmp_path}/a.parquet: its column price '
        'is string, not double.')
    _write_parquet(tmp_path / 'b.parquet', [{'who': 'u'}])
    with pytest.raises(UserError, match='b.parquet has another schema .* no column sku'):
        _read(tmp_path)


@pytest.mark.parametrize(('options', 'sentence'), [
    ({'columns': {'user_id': 'nobody'}},
     'has no column nobody (dataset.options.columns.user_id)'),
    ({'columns': {}}, 'has no column user_id: say which of its columns (who, sku, at, label'),
    ({'separator': ''}, 'separator and list_separator need a character'),
    ({'columns': {'user_id': 'x', 'item_id': 'x'}}, 'two names stand for the same column'),
    ({'timestamp_unit': 'h'}, 'timestamp_unit must be one of s, ms, us, iso'),
    ({'tables': [{'path': '/nowhere/t.csv', 'on': 'user_id'}]},
     'No file matches /nowhere/t.csv'),
])
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
    with pytest.raises(UserError, match='there is no reader generics; there are ali-ccp, '):
        reader_of('generics')

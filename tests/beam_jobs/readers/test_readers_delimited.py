"""Delimited text in blocks, against Python's csv module line by line."""

import csv
import random

import pytest

from beam_jobs.readers.base import Shard, text_shards
from beam_jobs.readers.delimited import Dialect, read_delimited, read_small
from mdctr.errors import UserError


def _read(path, dialect=None, block_bytes=1 << 20, columns=None):
    rows, rejected = [], []
    for block in read_delimited(
        Shard(str(path)), dialect or Dialect(), columns, block_bytes=block_bytes
    ):
        values = zip(*(column.to_pylist() for column in block.columns.values()), strict=True)
        rows += zip(block.lines.tolist(), values, strict=True)
        rejected += [
            (row['line'], row['reason'], row['row']) for row in block.rejected.to_pylist()
        ]
    return rows, sorted(rejected)


def test_every_kind_of_bad_line(tmp_path):
    path = tmp_path / 'log.csv'
    path.write_bytes(
        b'\xef\xbb\xbfa,"b"\r\n1,2\n\n1,2,3\r\n4,"x, y"\r\n"6\n7",8\n9\n\xff,3\n'
        b'10,"say ""hi"""\nq\rr,1\nz,\xc3\xa9'
    )
    expected = [(2, ('1', '2')), (5, ('4', 'x, y')), (10, ('10', 'say "hi"')), (12, ('z', 'é'))]
    for block_bytes in (1, 5, 20, 1000):
        rows, rejected = _read(path, block_bytes=block_bytes)
        assert rows == expected
        assert rejected == [
            (4, 'too many fields (3, not 2)', '1,2,3'),
            (6, 'unbalanced quotes', '"6'),
            (7, 'unbalanced quotes', '7",8'),
            (8, 'too few fields (1, not 2)', '9'),
            (9, 'not UTF-8', '\ufffd,3'),
            (11, 'carriage return within the line', 'q\rr,1'),
        ]


def test_misleading_quotes_cost_only_their_line(tmp_path):
    path = tmp_path / 'log.csv'
    lines = [f'{n},value {n}' for n in range(200)]
    lines[57] = '12" record,"left open'
    path.write_text('a,b\n' + '\n'.join(lines) + '\n')
    rows, rejected = _read(path)
    good = dict(rows)
    assert all(good[n + 2] == (str(n), f'value {n}') for n in range(200) if n != 57)
    assert len(rows) + len(rejected) == 200


def test_random_lines_against_the_csv_module(tmp_path):
    random.seed(5)
    path = tmp_path / 'log.csv'
    pieces = ['a', '', 'é', 'x y', '"q"', '"a,b"', '"say ""x"""', '日本', '\t']
    raw, expected, bad = ['h1,h2,h3'], [], []
    for number in range(2, 2000):
        fields = [random.choice(pieces) for _ in range(random.choice([3] * 20 + [2, 4]))]
        raw.append(','.join(fields))
        parsed = next(csv.reader([raw[-1]]))
        if len(parsed) == 3:
            expected.append((number, tuple(parsed)))
        else:
            bad.append(number)
    path.write_text('\n'.join(raw), encoding='utf-8', newline='')
    for block_bytes in (100, 1 << 20):
        rows, rejected = _read(path, block_bytes=block_bytes)
        assert rows == expected
        assert [line for line, *_ in rejected] == bad


def test_only_wanted_columns(tmp_path):
    path = tmp_path / 'log.csv'
    path.write_text('a,b,c\n1,2,3\n4,5,6\n')
    assert _read(path, columns=frozenset({'c', 'a', 'nothing'}))[0] == [
        (2, ('1', '3')),
        (3, ('4', '6')),
    ]


def test_other_dialects(tmp_path):
    path = tmp_path / 'log.dat'
    path.write_bytes('1::caf\xe9 "x"::a,b\n2::y\n'.encode('latin-1'))
    rows, rejected = _read(path, Dialect('::', None, ('a', 'b', 'c'), 'latin-1'))
    assert rows == [(1, ('1', 'café "x"', 'a,b'))]
    assert [row[:2] for row in rejected] == [(2, 'too few fields (2, not 3)')]


def test_header_mistakes(tmp_path):
    path = tmp_path / 'log.csv'
    path.write_text('a,b,a\n1,2,3\n')
    with pytest.raises(UserError, match="log.csv: its header has the field 'a' twice"):
        _read(path)
    path.write_bytes(b'\xff\xfe\n1,2,3\n')
    with pytest.raises(UserError, match='does not begin with a header in UTF-8'):
        _read(path)


def test_small_tables_refuse_bad_lines(tmp_path):
    path = tmp_path / 'users.csv'
    path.write_text('a,b\n1,2\n3\n')
    with pytest.raises(UserError, match=r'users.csv, line 3: too few fields \(1, not 2\)'):
        read_small(str(path), Dialect())
    path.write_text('a,b\n')
    with pytest.raises(UserError, match='has no rows below its header'):
        read_small(str(path), Dialect())


@pytest.mark.parametrize('size', [1, 100, 997, 1 << 20])
@pytest.mark.parametrize('header', [True, False])
def test_parts_of_a_file_are_the_whole(tmp_path, size, header):
    path = tmp_path / 'log.csv'
    lines = [f'{n},"v{n}"' if n % 7 else f'{n}' for n in range(500)]
    lines[100:100] = ['', '']
    path.write_text('\ufeff' + ('a,b\n' if header else '') + '\n'.join(lines))
    dialect = Dialect(names=None if header else ('a', 'b'))
    shards = text_shards([str(path)], size)
    assert len(shards) > 1 or size > path.stat().st_size
    rows, rejected = [], []
    for shard in reversed(shards):
        for block in read_delimited(shard, dialect, block_bytes=64):
            rows += zip(
                block.lines.tolist(),
                *(c.to_pylist() for c in block.columns.values()),
                strict=True,
            )
            rejected += block.rejected.column('line').to_pylist()
    numbered = [(n + 1 + header, line) for n, line in enumerate(lines) if line]
    assert sorted(rows) == [
        (n, *line.replace('"', '').split(',')) for n, line in numbered if ',' in line
    ]
    assert sorted(rejected) == [n for n, line in numbered if ',' not in line]

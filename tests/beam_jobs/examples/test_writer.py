"""Example files as they are written: what they hold, their row groups and their bytes."""

import hashlib
import io
import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_jobs.examples import writer
from beam_jobs.examples.writer import row_groups, write_examples
from mdctr.errors import UserError
from mdctr.example_files import ExampleFile


def examples(sizes, seed=0):
    """Rows of domains 0, 1, ... of these sizes; a domain may have none."""
    rng = np.random.default_rng(seed)
    domain = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    lists = [rng.integers(0, 99, rng.integers(4)).tolist() for _ in domain]
    return pa.table(
        {
            'domain': domain,
            'user_key': rng.integers(-(2**63), 2**63 - 1, len(domain)),
            'click': pa.array(rng.integers(0, 2, len(domain)), pa.int8()),
            'history': pa.array(lists, pa.list_(pa.int32())),
        }
    )


def write(path, table):
    domain = table['domain'].to_numpy()
    with open(path, 'wb') as file:
        return write_examples(
            file, domain, lambda first, last: table.slice(first, last - first)
        )


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(writer, '_SHARED_GROUP_ROWS', 10)
    monkeypatch.setattr(writer, '_GROUP_ROWS', 20)


SIZES = [3, 0, 3, 30, 4, 4, 4, 11, 1]


def test_a_file_holds_the_rows(tmp_path, small_groups):
    table = examples(SIZES)
    write(tmp_path / 'file.parquet', table)
    assert pq.read_table(str(tmp_path / 'file.parquet')).to_pydict() == table.to_pydict()


def test_the_digest_is_of_the_file(tmp_path):
    digest = write(tmp_path / 'file.parquet', examples(SIZES))
    assert digest == hashlib.sha256((tmp_path / 'file.parquet').read_bytes()).hexdigest()


def test_the_same_rows_give_the_same_bytes():
    files = [io.BytesIO(), io.BytesIO()]
    table = examples(SIZES)
    for file in files:
        write_examples(file, table['domain'].to_numpy(), lambda a, b: table.slice(a, b - a))
    assert files[0].getvalue() == files[1].getvalue()


@pytest.mark.parametrize(
    ('sizes', 'bounds'),
    [
        ([3, 3, 3, 3], [0, 9, 12]),  # small domains share a group of ten rows
        ([30, 3], [0, 15, 30, 33]),  # a large one has groups of its own, of equal size
        ([5, 50, 5, 5], [0, 5, 21, 38, 55, 65]),
        ([10, 11, 10], [0, 10, 21, 31]),
        ([41], [0, 13, 27, 41]),
        ([1], [0, 1]),
    ],
)
def test_row_groups(small_groups, sizes, bounds):
    assert row_groups(np.repeat(np.arange(len(sizes)), sizes)) == bounds


def test_many_small_domains_have_few_row_groups(tmp_path):
    write(tmp_path / 'file.parquet', examples([7] * 5000))
    metadata = pq.ParquetFile(tmp_path / 'file.parquet').metadata
    assert metadata.num_row_groups == 5  # 35,000 rows


def test_the_metadata_say_where_the_rows_of_a_domain_are(tmp_path, small_groups):
    table = examples(SIZES)
    write(tmp_path / 'file.parquet', table)
    metadata = pq.read_metadata(str(tmp_path / 'file.parquet')).metadata
    found = json.loads(metadata[b'mdctr.domains'])
    first = np.concatenate([[0], np.cumsum(SIZES)]).tolist()
    assert found == [[d, first[d], rows] for d, rows in enumerate(SIZES) if rows]


def test_a_reader_finds_the_rows_of_every_domain(tmp_path, small_groups):
    table = examples(SIZES)
    write(tmp_path / 'file.parquet', table)
    file = ExampleFile.open(str(tmp_path / 'file.parquet'))
    for domain, first, rows in file.domains:
        parts = [part for _, part in file.read(['domain', 'history'], first, first + rows)]
        found = pa.concat_tables(parts)
        assert found['domain'].to_pylist() == [domain] * SIZES[domain]
        assert found['history'].to_pylist() == table['history'].to_pylist()[first:][:rows]


def test_any_rows_are_read_group_by_group(tmp_path, small_groups):
    table = examples(SIZES)
    write(tmp_path / 'file.parquet', table)
    file = ExampleFile.open(str(tmp_path / 'file.parquet'))
    keys = table['user_key'].to_pylist()
    for first, last in itertools.combinations(range(0, len(keys) + 1, 6), 2):
        parts = list(file.read(['user_key'], first, last))
        assert [key for _, part in parts for key in part['user_key'].to_pylist()] == (
            keys[first:last]
        )
        assert [keys[row] for row, _ in parts] == [
            part['user_key'][0].as_py() for _, part in parts
        ]


@pytest.mark.parametrize('lost', [1, 5, 300])
def test_a_truncated_file_is_one_sentence(tmp_path, lost):
    path = tmp_path / 'file.parquet'
    write(path, examples(SIZES))
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(
        UserError, match=r'file\.parquet is damaged .*: build the dataset again'
    ):
        ExampleFile.open(str(path))


def test_damaged_pages_are_one_sentence(tmp_path):
    path = tmp_path / 'file.parquet'
    write(path, examples([500]))
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)
    path.write_bytes(data)
    file = ExampleFile.open(str(path))
    with pytest.raises(UserError, match=r'file\.parquet is damaged'):
        list(file.read(['domain', 'user_key']))

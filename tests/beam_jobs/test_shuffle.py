"""The spill of rows by bucket of users."""

import os

import numpy as np
import pyarrow as pa
import pytest

from beam_jobs import shuffle
from beam_jobs.atomic import read_arrow, write_arrow, write_text
from beam_jobs.draws import Purpose, hash_strings, mix, uniform
from beam_jobs.shuffle import Spill, buckets_of, load

SCHEMA = pa.schema([('user', pa.string()), ('n', pa.int64()), ('xs', pa.list_(pa.string()))])


def batch(begin: int, end: int) -> pa.RecordBatch:
    rows = range(begin, end)
    return pa.RecordBatch.from_pydict({
        'user': [f'u{n % 37}' for n in rows], 'n': list(rows),
        'xs': [['x'] * (n % 3) for n in rows]}, schema=SCHEMA)


def test_hashes_are_the_same_in_every_version_and_process():
    # Written down once: other values would move users to other buckets and draw other rows.
    assert hash_strings(pa.array(['', 'user', 'ü'])).tolist() == [
        10148479291257570603, 7142475175437844784, 13944661680610642818]
    assert mix(1, np.array([2, 3], np.uint64)).tolist() == [
        5886236958684341581, 7521888212171461645]


def test_buckets_are_even_and_a_users_rows_are_together():
    users = pa.array([f'user-{n % 5000}' for n in range(20_000)])
    buckets = buckets_of(users, 8)
    assert (buckets[:5000] == buckets[5000:10_000]).all()
    assert np.abs(np.bincount(buckets) / 20_000 - 1 / 8).max() < 0.015


def test_draws_are_uniform_and_differ_by_purpose():
    keys = np.arange(100_000).astype(np.uint64)
    draws = uniform(1, Purpose.SPLIT, keys)
    assert draws.min() >= 0 and draws.max() < 1
    assert np.abs(np.histogram(draws, 20, (0, 1))[0] / 5000 - 1).max() < 0.06
    other = uniform(1, Purpose.ORDER, keys)
    assert abs(np.corrcoef(draws, other)[0, 1]) < 0.02


def test_everything_written_is_read_back_by_bucket(tmp_path, monkeypatch):
    monkeypatch.setattr(shuffle, '_ROWS_IN_MEMORY', 150)
    with Spill(str(tmp_path / 'shard'), SCHEMA, 4, 'user') as spill:
        for begin in range(0, 1000, 100):
            spill.write(batch(begin, begin + 100))
    rows = []
    for bucket in range(4):
        table = load(part for number, part in spill.parts if number == bucket)
        assert (buckets_of(table['user'].chunk(0), 4) == bucket).all()
        rows += table.to_pylist()
    assert sorted(rows, key=lambda row: row['n']) == batch(0, 1000).to_pylist()
    assert len(spill.parts) > 8  # written in more than one go


def test_a_shard_that_is_written_again_is_there_once(tmp_path):
    for _ in range(2):
        with Spill(str(tmp_path / 'shard'), SCHEMA, 2, 'user') as spill:
            spill.write(batch(0, 50))
    assert os.listdir(tmp_path) == ['shard']
    assert sum(part.rows for _, part in spill.parts) == 50


def test_an_error_leaves_no_file(tmp_path):
    with (pytest.raises(RuntimeError),
          Spill(str(tmp_path / 'shard'), SCHEMA, 2, 'user') as spill):
        spill.write(batch(0, 50))
        raise RuntimeError
    assert os.listdir(tmp_path) == []


def test_no_rows_give_no_parts(tmp_path):
    with Spill(str(tmp_path / 'shard'), SCHEMA, 2, 'user') as spill:
        spill.write(batch(0, 0))
    assert spill.parts == []


def test_arrow_and_text_files_appear_whole(tmp_path):
    table = pa.table({'x': pa.array(['a', None, 'a']).dictionary_encode(), 'y': [1, 2, 3]})
    write_arrow(str(tmp_path / 'a' / 'table'), table)
    assert read_arrow(str(tmp_path / 'a' / 'table')).equals(table)
    write_text(str(tmp_path / 'text'), 'ü')
    assert (tmp_path / 'text').read_text('utf-8') == 'ü'

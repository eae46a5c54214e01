"""Rows shuffled by bucket of users."""

import numpy as np
import pyarrow as pa

from beam_jobs.arrow_files import read_arrow, write_arrow
from beam_jobs.build import shuffle
from beam_jobs.build.shuffle import (
    BucketSplitter,
    buckets_of,
    concatenate,
    decode_rows,
    encode_rows,
)
from beam_jobs.rows.random_draws import Stream, hash64, hash_strings, uniform
from mdctr.storage import write_text

SCHEMA = pa.schema([('user', pa.string()), ('n', pa.int64()), ('xs', pa.list_(pa.string()))])


def batch(begin: int, end: int) -> pa.RecordBatch:
    rows = range(begin, end)
    return pa.RecordBatch.from_pydict(
        {
            'user': [f'u{n % 37}' for n in rows],
            'n': list(rows),
            'xs': [['x'] * (n % 3) for n in rows],
        },
        schema=SCHEMA,
    )


def test_hashes_are_the_same_in_every_version_and_process():
    # Written down once: other values would move users to other buckets and draw other rows.
    assert hash_strings(pa.array(['', 'user', 'ü'])).tolist() == [
        10148479291257570603,
        7142475175437844784,
        13944661680610642818,
    ]
    assert hash64(1, np.array([2, 3], np.uint64)).tolist() == [
        5886236958684341581,
        7521888212171461645,
    ]


def test_buckets_are_even_and_a_users_rows_are_together():
    users = pa.array([f'user-{n % 5000}' for n in range(20_000)])
    buckets = buckets_of(users, 8)
    assert (buckets[:5000] == buckets[5000:10_000]).all()
    assert np.abs(np.bincount(buckets) / 20_000 - 1 / 8).max() < 0.015


def test_draws_are_uniform_and_differ_by_purpose():
    keys = np.arange(100_000).astype(np.uint64)
    draws = uniform(1, Stream.SPLIT, keys)
    assert draws.min() >= 0 and draws.max() < 1
    assert np.abs(np.histogram(draws, 20, (0, 1))[0] / 5000 - 1).max() < 0.06
    other = uniform(1, Stream.ORDER, keys)
    assert abs(np.corrcoef(draws, other)[0, 1]) < 0.02


def split(*rows: pa.RecordBatch, shard: int = 0, buckets: int = 4) -> list:
    """The (bucket, chunk) pairs of a shard."""
    splitter = BucketSplitter(shard, SCHEMA, buckets, 'user')
    chunks = [chunk for some in rows for chunk in splitter.add(some)]
    return chunks + list(splitter.finish())


def test_every_row_is_in_the_bucket_of_its_user_once(monkeypatch):
    monkeypatch.setattr(shuffle, '_ROWS_IN_MEMORY', 150)
    chunks = split(*(batch(begin, begin + 100) for begin in range(0, 1000, 100)))
    rows = []
    for bucket in range(4):
        table = concatenate(chunk for number, chunk in chunks if number == bucket)
        assert (buckets_of(table['user'].chunk(0), 4) == bucket).all()
        rows += table.to_pylist()
    assert sorted(rows, key=lambda row: row['n']) == batch(0, 1000).to_pylist()
    assert len(chunks) > 8  # not all rows at once


def test_a_buckets_rows_are_in_the_order_of_the_log_in_whatever_order_they_arrive(monkeypatch):
    monkeypatch.setattr(shuffle, '_ROWS_IN_MEMORY', 50)
    log = [batch(begin, begin + 100) for begin in range(0, 1000, 100)]
    chunks = [
        chunk
        for shard in range(5)
        for _, chunk in split(*log[2 * shard : 2 * shard + 2], shard=shard, buckets=1)
    ]
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(chunks))
        assert concatenate(chunks[n] for n in order).to_pylist() == batch(0, 1000).to_pylist()


def test_a_shard_that_is_read_again_gives_the_same_chunks():
    assert split(batch(0, 50), batch(50, 70)) == split(batch(0, 50), batch(50, 70))


def test_no_rows_give_no_chunks():
    assert split(batch(0, 0)) == []


def test_encoded_rows_are_compressed_and_decoded_as_they_were():
    rows = pa.table({'x': pa.array(['a', None, 'a'] * 1000).dictionary_encode()})
    encoded = encode_rows(rows.slice(3, 2000))
    assert len(encoded) < 4000  # rather than 8,000 of the codes, and those of a slice alone
    assert decode_rows(encoded).equals(rows.slice(3, 2000))


def test_arrow_and_text_files_appear_whole(tmp_path):
    table = pa.table({'x': pa.array(['a', None, 'a']).dictionary_encode(), 'y': [1, 2, 3]})
    write_arrow(str(tmp_path / 'a' / 'table'), table)
    assert read_arrow(str(tmp_path / 'a' / 'table')).equals(table)
    write_text(str(tmp_path / 'text'), 'ü')
    assert (tmp_path / 'text').read_text('utf-8') == 'ü'

"""The reader against the rows that were written."""

import collections
import dataclasses
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.manifest import read_manifest, write_manifest
from tests.trainer.trainer_dataset import write_dataset
from trainer.data.columns import decode
from trainer.data.examples import Examples
from trainer.data.prefetch import prefetch

TINY_MEMORY = 20_000  # less than the training split takes, so that it is streamed


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp('data') / 'tiny'
    return str(directory), write_dataset(directory)


def opened(written):
    return open_dataset(written[0])


def row_keys(batches):
    """Every row of the batches as a comparable tuple."""
    keys = []
    for batch in batches:
        domains = np.broadcast_to(batch['domain'], len(batch['click']))
        for i in range(len(batch['click'])):
            keys.append(
                (
                    int(domains[i]),
                    int(batch['click'][i]),
                    int(batch['user_key'][i]),
                    int(batch['user_id'][i]),
                    int(batch['item_id'][i]),
                    int(batch['age'][i]),
                    tuple(batch['genres'][i].tolist()),
                    tuple(batch['history'][i].tolist()),
                )
            )
    return keys


def written_keys(written):
    keys = []
    for domain, columns in written.items():
        for i in range(len(columns['click'])):

            def padded(ids, length):
                return (*ids.tolist(), *[-1] * (length - len(ids)))

            keys.append(
                (
                    domain,
                    int(columns['click'][i]),
                    int(columns['user_key'][i]),
                    int(columns['user_id'][i]),
                    int(columns['item_id'][i]),
                    int(columns['age'][i]),
                    padded(columns['genres'][i], 3),
                    padded(columns['history'][i], 4),
                )
            )
    return keys


@pytest.mark.parametrize('memory', [1 << 30, TINY_MEMORY])
@pytest.mark.parametrize('kind', ['domain', 'mixed'])
def test_an_epoch_is_every_row_once(dataset, kind, memory):
    examples = Examples(opened(dataset), 'train', memory=memory)
    assert examples.in_memory == (memory != TINY_MEMORY)
    batches = list(examples.epoch(0, 64, kind, seed=3))
    assert len(batches) == examples.num_batches(64, kind)
    assert collections.Counter(row_keys(batches)) == collections.Counter(
        written_keys(dataset[1]['train'])
    )
    if kind == 'domain':
        assert all(batch['domain'].shape == () for batch in batches)
        sizes = [len(batch['click']) for batch in batches]
        assert max(sizes) <= 64 and sum(sizes) == len(examples)
    else:
        assert all(len(np.unique(batch['domain'])) > 1 for batch in batches[:-1])


@pytest.mark.parametrize('memory', [1 << 30, TINY_MEMORY])
@pytest.mark.parametrize('kind', ['domain', 'mixed'])
def test_no_batch_is_of_a_few_rows_that_were_left(tmp_path, kind, memory):
    """One of a single row would move a model as far as a whole one."""
    write_dataset(tmp_path, {'train': {1: 961, 2: 321}})
    examples = Examples(open_dataset(str(tmp_path)), 'train', memory=memory)
    assert examples.in_memory == (memory != TINY_MEMORY)
    sizes = [len(batch['click']) for batch in examples.epoch(0, 64, kind)]
    assert len(sizes) == examples.num_batches(64, kind) and sum(sizes) == 1282
    assert min(sizes) >= (53 if kind == 'domain' else 60) and max(sizes) <= 64


@pytest.mark.parametrize('memory', [1 << 30, TINY_MEMORY])
@pytest.mark.parametrize('kind', ['domain', 'mixed'])
def test_an_epoch_is_repeatable_resumable_and_shuffled(dataset, kind, memory):
    def keys(number, seed, start=0):
        return [
            row_keys([batch])
            for batch in Examples(opened(dataset), 'train', memory=memory).epoch(
                number, 64, kind, seed, start
            )
        ]

    first = keys(0, 3)
    assert keys(0, 3) == first
    for start in (1, 7, len(first)):
        assert keys(0, 3, start) == first[start:]
    assert keys(1, 3) != first and keys(0, 4) != first
    assert row_keys(Examples(opened(dataset), 'train').in_order(64)) != row_keys(
        Examples(opened(dataset), 'train').epoch(0, 64, kind, 3)
    )


def test_domains_come_in_proportion_throughout(dataset):
    order = [int(batch['domain']) for batch in Examples(opened(dataset), 'train').epoch(0, 10)]
    half = collections.Counter(order[: len(order) // 2])
    assert half[1] == pytest.approx(35, abs=8) and half[2] == pytest.approx(15, abs=8)


@pytest.mark.parametrize('memory', [1 << 30, TINY_MEMORY])
def test_batches_of_one_domain_hold_its_rows_alone(dataset, memory):
    examples = Examples(opened(dataset), 'train', memory=memory)
    batches = list(examples.domain_epoch(2, 0, 64, seed=1))
    assert [len(batch['click']) for batch in batches] == [60] * 5  # of 64 at most
    assert sorted(row_keys(batches)) == sorted(written_keys({2: dataset[1]['train'][2]}))
    assert row_keys(examples.domain_epoch(2, 0, 64, seed=1, start=2)) == row_keys(batches[2:])


@pytest.mark.parametrize('memory', [1 << 30, TINY_MEMORY])
def test_scoring_reads_every_row_of_unseen_domains_too(dataset, memory):
    examples = Examples(opened(dataset), 'test', memory=memory)
    assert examples.domains == [0, 1, 2] and len(examples) == 110
    assert sorted(row_keys(examples.in_order(16))) == sorted(written_keys(dataset[1]['test']))


def test_rows_of_many_domains_are_decoded_together(tmp_path, monkeypatch):
    domains = dict.fromkeys(range(1, 61), 3)
    written = write_dataset(
        tmp_path / 'many', {'train': domains, 'validation': {1: 5}, 'test': {1: 5}}, domains=60
    )
    calls = []
    monkeypatch.setattr(
        'trainer.data.example_ranges.decode',
        lambda rows, *args: calls.append(rows.num_rows) or decode(rows, *args),
    )
    examples = Examples(open_dataset(str(tmp_path / 'many')), 'train')
    assert sorted(row_keys(examples.in_order(16))) == sorted(written_keys(written['train']))
    assert sorted(calls) == [20, 20, 70, 70]  # the row groups of two files


def record_files(directory):
    """Makes the manifest agree with files that were changed."""
    manifest = read_manifest(str(directory))
    write_manifest(str(directory), dataclasses.replace(manifest, files={}))


def test_a_file_that_is_none_is_told_by_its_name(tmp_path):
    write_dataset(tmp_path / 'wrong')
    path = tmp_path / 'wrong/examples/train/part-00001-of-00002.parquet'
    pq.write_table(pa.table({'click': [0, 1]}), path)
    record_files(tmp_path / 'wrong')
    with pytest.raises(UserError, match=r'part-00001.* is damaged or is not of this dataset'):
        Examples(open_dataset(str(tmp_path / 'wrong')), 'train')


def test_a_file_without_a_feature_is_told_by_its_name(tmp_path):
    write_dataset(tmp_path / 'wrong')
    path = tmp_path / 'wrong/examples/train/part-00001-of-00002.parquet'
    with open(path, 'rb') as file:
        rows = pq.read_table(file)
    pq.write_table(rows.drop(['genres']), path)
    record_files(tmp_path / 'wrong')
    with pytest.raises(UserError, match=r'part-00001.*\(no column genres\)'):
        list(Examples(open_dataset(str(tmp_path / 'wrong')), 'train').in_order(64))


def test_excluded_features_are_not_read(dataset):
    batch = next(Examples(opened(dataset), 'train', exclude=['age', 'history']).epoch(0, 8))
    assert set(batch) == {'user_id', 'item_id', 'genres', 'domain', 'click', 'user_key'}


def test_an_unknown_split_is_refused(dataset):
    with pytest.raises(UserError, match='has no split tests; it has train, validation, test'):
        Examples(opened(dataset), 'tests')


def test_a_truncated_file_is_one_sentence(tmp_path):
    write_dataset(tmp_path / 'cut')
    path = tmp_path / 'cut/examples/train/part-00001-of-00002.parquet'
    os.truncate(path, os.path.getsize(path) - 5)
    with pytest.raises(UserError, match=r'part-00001.* is damaged'):
        list(prefetch(Examples(open_dataset(str(tmp_path / 'cut')), 'train').epoch(0, 64)))


def test_prefetch_keeps_order_and_stops_with_its_consumer(dataset):
    examples = Examples(opened(dataset), 'train')
    plain = list(examples.epoch(0, 64))
    ahead = list(prefetch(examples.epoch(0, 64)))
    for one, other in zip(plain, ahead, strict=True):
        np.testing.assert_array_equal(one['item_id'], other['item_id'].numpy())
    iterator = prefetch(examples.epoch(0, 1))
    next(iterator)
    iterator.close()  # returns, although the queue is full


@pytest.fixture(scope='module')
def days(tmp_path_factory):
    """A dataset of three days, in which the domain 3 begins on the second."""
    directory = tmp_path_factory.mktemp('data') / 'days'
    rows = {'day-1': {1: 300, 2: 40}, 'day-2': {1: 250, 2: 30, 3: 20}, 'day-3': {0: 9, 1: 70}}
    return str(directory), write_dataset(directory, rows)


def merged(written, splits, domains=(0, 1, 2, 3)):
    return [
        key
        for split in splits
        for key in written_keys(
            {domain: rows for domain, rows in written[split].items() if domain in domains}
        )
    ]


@pytest.mark.parametrize('memory', [1 << 30, 10_000])
@pytest.mark.parametrize('kind', ['domain', 'mixed'])
@pytest.mark.parametrize(
    'splits', [('day-1', 'day-2'), ('day-3', 'day-1', 'day-2'), ('day-2',)]
)
def test_several_splits_are_one(days, kind, memory, splits):
    examples = Examples(opened(days), list(splits), memory=memory)
    assert examples.in_memory == (memory != 10_000) and examples.splits == splits
    batches = list(examples.epoch(0, 64, kind, seed=2))
    expected = collections.Counter(merged(days[1], splits))
    assert collections.Counter(row_keys(batches)) == expected
    assert collections.Counter(row_keys(examples.in_order(50))) == expected
    assert len(batches) == examples.num_batches(64, kind)
    assert len(examples) == expected.total()
    again = Examples(opened(days), splits, memory=memory).epoch(0, 64, kind, seed=2, start=3)
    assert row_keys(again) == row_keys(batches[3:])


@pytest.mark.parametrize('memory', [1 << 30, 10_000])
@pytest.mark.parametrize('kind', ['domain', 'mixed'])
def test_only_the_domains_asked_for(days, kind, memory):
    examples = Examples(
        opened(days), ['day-1', 'day-2', 'day-3'], domains=['d3', 'd1'], memory=memory
    )
    assert examples.domains == [1, 3]
    assert (examples.count(1), examples.count(2), examples.count(3)) == (620, 0, 20)
    expected = sorted(merged(days[1], ['day-1', 'day-2', 'day-3'], (1, 3)))
    assert sorted(row_keys(examples.epoch(0, 64, kind))) == expected
    assert sorted(row_keys(examples.in_order(64))) == expected
    assert len(Examples(opened(days), 'day-1', domains=['d3'])) == 0  # not there on that day


def test_what_several_splits_are_called(days):
    assert Examples(opened(days), 'day-1').split == 'day-1'
    assert Examples(opened(days), ['day-2', 'day-1']).split == 'day-2, day-1'
    from trainer.data.examples import _joint_name

    assert _joint_name(('a', 'b', 'c', 'd')) == 'a to d (4 splits)'


@pytest.mark.parametrize(
    ('splits', 'domains', 'message'),
    [
        (['day-1', 'day-4'], None, 'has no split day-4; it has day-1, day-2, day-3'),
        (['day-1', 'day-2', 'day-1'], None, 'split day-1 is given twice'),
        ([], None, 'No split of .* is given: give one of day-1, day-2, day-3'),
        ('day-1', ['d1', 'x'], 'has no domain x; it has d1, d2, d3'),
        ('day-1', [], 'No domain of .* is given: give one of d1, d2, d3'),
    ],
)
def test_unknown_names_are_refused(days, splits, domains, message):
    with pytest.raises(UserError, match=message):
        Examples(opened(days), splits, domains=domains)

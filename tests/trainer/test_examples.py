"""The reader against the rows that were written."""

import collections
import os

import numpy as np
import pytest
from trainer_dataset import write_dataset

from beam_jobs.errors import UserError
from trainer.examples import Examples, prefetch

TINY_MEMORY = 20_000  # less than the training split takes, so that it is streamed


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp('data') / 'tiny'
    return str(directory), write_dataset(directory)


def row_keys(batches):
    """Every row of the batches as a comparable tuple."""
    keys = []
    for batch in batches:
        domains = np.broadcast_to(batch['domain'], len(batch['click']))
        for i in range(len(batch['click'])):
            keys.append((int(domains[i]), int(batch['click'][i]), int(batch['user_key'][i]),
                         int(batch['user_id'][i]), int(batch['item_id'][i]),
                         int(batch['age'][i]), tuple(batch['genres'][i].tolist()),
                         tuple(batch['history'][i].tolist())))
    return keys


def written_keys(written):
    keys = []
    for domain, columns in written.items():
        for i in range(len(columns['click'])):
            def padded(ids, length):
                return (*ids.tolist(), *[-1] * (length - len(ids)))
            keys.append((domain, int(columns['click'][i]), int(columns['user_key'][i]),
                         int(columns['user_id'][i]), int(columns['item_id'][i]),
                         int(columns['age'][i]), padded(columns['genres'][i], 3),
                         padded(columns['history'][i], 4)))
    return keys


@pytest.mark.parametrize('memory', [1 << 30, TINY_MEMORY])
@pytest.mark.parametrize('kind', ['domain', 'mixed'])
def test_an_epoch_is_every_row_once(dataset, kind, memory):
    examples = Examples(dataset[0], 'train', memory=memory)
    assert examples.in_memory == (memory != TINY_MEMORY)
    batches = list(examples.epoch(0, 64, kind, seed=3))
    assert len(batches) == examples.num_batches(64, kind)
    assert collections.Counter(row_keys(batches)) == collections.Counter(
        written_keys(dataset[1]['train']))
    if kind == 'domain':
        assert all(batch['domain'].shape == () for batch in batches)
        assert max(len(batch['click']) for batch in batches) == 64
    else:
        assert all(len(np.unique(batch['domain'])) > 1 for batch in batches[:-1])


@pytest.mark.parametrize('memory', [1 << 30, TINY_MEMORY])
@pytest.mark.parametrize('kind', ['domain', 'mixed'])
def test_an_epoch_is_repeatable_resumable_and_shuffled(dataset, kind, memory):
    def keys(number, seed, start=0):
        return [row_keys([batch]) for batch in Examples(
            dataset[0], 'train', memory=memory).epoch(number, 64, kind, seed, start)]
    first = keys(0, 3)
    assert keys(0, 3) == first
    for start in (1, 7, len(first)):
        assert keys(0, 3, start) == first[start:]
    assert keys(1, 3) != first and keys(0, 4) != first
    assert row_keys(Examples(dataset[0], 'train').in_order(64)) != row_keys(Examples(
        dataset[0], 'train').epoch(0, 64, kind, 3))


def test_domains_come_in_proportion_throughout(dataset):
    order = [int(batch['domain']) for batch in Examples(dataset[0], 'train').epoch(0, 10)]
    half = collections.Counter(order[:len(order) // 2])
    assert half[1] == pytest.approx(35, abs=8) and half[2] == pytest.approx(15, abs=8)


@pytest.mark.parametrize('memory', [1 << 30, TINY_MEMORY])
def test_one_domain(dataset, memory):
    examples = Examples(dataset[0], 'train', memory=memory)
    batches = list(examples.domain_epoch(2, 0, 64, seed=1))
    assert [len(batch['click']) for batch in batches] == [64, 64, 64, 64, 44]
    assert sorted(row_keys(batches)) == sorted(written_keys({2: dataset[1]['train'][2]}))
    assert row_keys(examples.domain_epoch(2, 0, 64, seed=1, start=2)) == row_keys(batches[2:])


@pytest.mark.parametrize('memory', [1 << 30, TINY_MEMORY])
def test_scoring_reads_every_row_of_unseen_domains_too(dataset, memory):
    examples = Examples(dataset[0], 'test', memory=memory)
    assert examples.domains == [0, 1, 2] and len(examples) == 110
    assert sorted(row_keys(examples.in_order(16))) == sorted(written_keys(dataset[1]['test']))


def test_excluded_features_are_not_read(dataset):
    batch = next(Examples(dataset[0], 'train', exclude=['age', 'history']).epoch(0, 8))
    assert set(batch) == {'user_id', 'item_id', 'genres', 'domain', 'click', 'user_key'}


def test_no_such_split(dataset):
    with pytest.raises(UserError, match='has no split tests; it has train, validation, test'):
        Examples(dataset[0], 'tests')


def test_a_truncated_file_is_one_sentence(tmp_path):
    write_dataset(tmp_path / 'cut')
    path = tmp_path / 'cut/examples/train/part-00001-of-00002.tfrecord'
    os.truncate(path, os.path.getsize(path) - 5)
    with pytest.raises(UserError, match=r'part-00001.* is damaged'):
        list(prefetch(Examples(str(tmp_path / 'cut'), 'train').epoch(0, 64)))


def test_prefetch_keeps_order_and_stops_with_its_consumer(dataset):
    examples = Examples(dataset[0], 'train')
    plain = list(examples.epoch(0, 64))
    ahead = list(prefetch(examples.epoch(0, 64)))
    for one, other in zip(plain, ahead, strict=True):
        np.testing.assert_array_equal(one['item_id'], other['item_id'].numpy())
    iterator = prefetch(examples.epoch(0, 1))
    next(iterator)
    iterator.close()  # returns, although the queue is full

"""Boosted trees in a comparison, and their target encoding against plain counts."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.manifest import read_manifest, write_manifest
from mdctr.metrics import auc
from pipeline.compare.boosted_trees import boosted_trees, target_encoding
from pipeline.compare.methods import parse_methods, parse_references
from pipeline.compare.report import write_reports
from pipeline.compare.run import compare
from tests.trainer.trainer_dataset import write_dataset, write_split
from trainer.config import ModelConfig, TrainConfig

TRAIN = TrainConfig(
    model=ModelConfig(name='mlp', embedding_dim=2, hidden_units=[4]), batch_size=32, epochs=1
)


@pytest.fixture(autouse=True, scope='module')
def _one_thread():
    with threadpool_limits(1):  # threads that wait for each other on a busy machine
        yield


def test_target_encoding_uses_the_rows_of_earlier_days():
    rng = np.random.default_rng(4)
    code, day, click = (rng.integers(0, n, 300) for n in (12, 5, 2))
    wanted, before = rng.integers(0, 15, 200), rng.integers(0, 9, 200)
    rates, counts = target_encoding(code, day, click, wanted, before)
    for value, until, rate, count in zip(wanted, before, rates, counts, strict=True):
        same, known = (code == value) & (day < until), day < until
        assert count == same.sum()
        if count:
            assert rate == pytest.approx(
                (click[same].sum() + 20 * click[known].mean()) / (count + 20)
            )
        else:
            assert np.isnan(rate)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    path = str(tmp_path_factory.mktemp('trees') / 'dataset')
    rows = write_dataset(
        path,
        {'train': {1: 1500, 2: 900}, 'validation': {1: 200, 2: 100}, 'test': {1: 300, 2: 200}},
    )
    shutil.rmtree(os.path.join(path, 'examples', 'train'))
    rng = np.random.default_rng(1)
    for columns in rows['train'].values():  # over eight days: there is a past to encode
        columns['timestamp'] -= 86400 * rng.integers(0, 8, len(columns['click']))
    write_split(path, 'train', rows['train'])
    write_manifest(path, dataclasses.replace(read_manifest(path), files={}))
    return open_dataset(path)


def test_trees_find_what_the_clicks_depend_on(dataset):
    scores = boosted_trees(dataset, 'test', seed=1)
    assert len(scores.click) == 500
    # A click depends on the item being odd or even, by domain: the order of ids hides that.
    assert auc(scores.click, scores.score) > 0.75
    again = boosted_trees(dataset, 'test', seed=1)
    np.testing.assert_array_equal(scores.score, again.score)
    assert (scores.score != boosted_trees(dataset, 'test', seed=2).score).any()


def test_references_are_in_the_table_with_paired_seeds(dataset, tmp_path):
    methods = [
        *parse_methods(TRAIN, ['mlp'], ['joint']),
        *parse_references(TRAIN, ['boosted_trees']),
    ]
    results, failures = compare(dataset, str(tmp_path), methods, [1, 2])
    assert not failures
    assert [(result.method, result.seed) for result in results] == [
        ('mlp', 1),
        ('boosted_trees', 1),
        ('mlp', 2),
        ('boosted_trees', 2),
    ]
    text = write_reports(dataset.manifest, str(tmp_path), results, 'mlp')
    line = next(line for line in text.splitlines() if 'boosted_trees' in line)
    assert line.endswith('| - |')  # trees have no parameter count
    trees = results[1].metrics['overall']
    assert trees['impressions'] == 500 and trees['auc'] > 0.75
    again, _ = compare(dataset, str(tmp_path), methods, [1, 2])
    assert again == results
    with pytest.raises(UserError, match='no reference forest; there are boosted_trees'):
        parse_references(TRAIN, ['forest'])

"""Exported tf.Examples, read by TensorFlow's parser."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from beam_jobs.examples.export import export_tfrecords
from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from tests.beam_jobs.tiny_dataset import LENGTH, make_rows, write_dataset


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Columns of the splits, and the directory of their export."""
    directory = tmp_path_factory.mktemp('export')
    splits = {'train': make_rows(300), 'test': make_rows(90, 1)}
    write_dataset(directory / 'dataset', splits)
    dataset = open_dataset(str(directory / 'dataset'))
    counts = export_tfrecords(dataset, str(directory / 'output'))
    assert counts == {'train': 300, 'test': 90}
    return splits, directory


@pytest.mark.parametrize('split', ['train', 'test'])
def test_exported_examples_are_those_of_the_dataset(exported, split):
    splits, directory = exported
    files = [str(directory / f'output/{split}/part-0000{n}-of-00002.tfrecord') for n in (0, 1)]
    records = [list(tf.data.TFRecordDataset(file).as_numpy_iterator()) for file in files]
    columns = splits[split]
    singles = [name for name in columns if name != 'genres']
    for number, of_file in enumerate(records):
        parsed = tf.io.parse_example(
            of_file,
            {
                **dict.fromkeys(singles, tf.io.FixedLenFeature([], tf.int64)),
                'genres': tf.io.RaggedFeature(tf.int64),
            },
        )
        for name in singles:
            np.testing.assert_array_equal(parsed[name], columns[name][number::2])
        assert parsed['genres'].to_list() == [g.tolist() for g in columns['genres'][number::2]]
        assert max(map(len, parsed['genres'].to_list())) == LENGTH


def test_an_export_overwrites_nothing(exported):
    _, directory = exported
    with pytest.raises(
        UserError, match='output contains files: name an empty or new directory'
    ):
        export_tfrecords(open_dataset(str(directory / 'dataset')), str(directory / 'output'))


def test_pandas_reads_the_examples_of_a_split(exported):
    splits, directory = exported
    frame = pd.read_parquet(f'{directory}/dataset/examples/train')
    clicks = frame.groupby('domain')['click'].agg(['size', 'mean'])
    for domain in (1, 2):
        mine = splits['train']['click'][splits['train']['domain'] == domain]
        assert tuple(clicks.loc[domain]) == pytest.approx((len(mine), mine.mean()))

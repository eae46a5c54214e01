"""Reads a dataset back with TensorFlow, for tests: one dictionary an example."""

import glob
import os

import tensorflow as tf


def read_examples(directory: str, split: str) -> list[dict[str, list[int]]]:
    """The examples of `split`, every feature a list of integers, in the order of the files."""
    files = sorted(glob.glob(os.path.join(directory, 'examples', split, '*.tfrecord')))
    records = tf.data.TFRecordDataset(files).as_numpy_iterator()
    return [{name: list(feature.int64_list.value)
             for name, feature in tf.train.Example.FromString(record).features.feature.items()}
            for record in records]

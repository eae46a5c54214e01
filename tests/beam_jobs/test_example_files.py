"""Encoded examples, read back by TensorFlow, which also checks every checksum."""

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from beam_jobs.crc32c import crc32c, joined
from beam_jobs.examples import ExampleFile, Lists, encode_features


def random_strings(seed: int, count: int = 300, longest: int = 200) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [rng.bytes(int(size)) for size in rng.integers(0, longest, count)]


def test_checksums_are_those_of_the_library():
    strings = random_strings(0)
    expected = [google_crc32c.value(string) for string in strings]
    assert crc32c(pa.array(strings, pa.binary())).tolist() == expected
    assert crc32c(pa.array(strings, pa.binary()).slice(7, 90)).tolist() == expected[7:97]
    assert crc32c(pa.array([b'123456789'])).tolist() == [0xE3069283]  # RFC 3720's kind
    assert crc32c(pa.array([], pa.binary())).tolist() == []


def test_checksums_of_joined_strings():
    first, second = random_strings(1), random_strings(2)
    second[0] = b''
    checksums = joined(crc32c(pa.array(first, pa.binary())),
                       crc32c(pa.array(second, pa.binary())),
                       np.array([len(string) for string in second]))
    assert checksums.tolist() == [google_crc32c.value(a + b)
                                  for a, b in zip(first, second, strict=True)]


def lists(values: list[list[int]]) -> Lists:
    offsets = np.cumsum([0] + [len(some) for some in values])
    return Lists(offsets, np.array([v for some in values for v in some], np.int64))


@pytest.mark.parametrize('rows', [1, 70])
def test_examples_are_read_back_as_they_were(tmp_path, rows):
    rng = np.random.default_rng(rows)
    edges = [0, 1, 127, 128, 2**14 - 1, 2**14, 2**35, 2**63 - 1, -1, -2**63]
    single = rng.choice(edges, rows)
    many = [rng.choice(edges, size).tolist() for size in rng.integers(0, 60, rows)]
    domain = np.sort(rng.integers(0, 4, rows))
    shared = encode_features({'single': single, 'many': lists(many)})
    label = encode_features({'ä' * 80: np.array([0, 1])})  # a name of more than 127 bytes
    which = rng.integers(0, 2, rows)
    path = str(tmp_path / 'split' / 'part.tfrecord')
    with ExampleFile(path) as file:
        for begin in range(0, rows, 32):
            chunk = np.arange(begin, min(begin + 32, rows))
            file.write([shared.take(chunk), label.take(which[chunk])])
        index = file.index(domain)
    records = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    assert len(records) == rows
    for row, record in enumerate(records):
        features = tf.train.Example.FromString(record).features.feature
        found = {name: list(feature.int64_list.value) for name, feature in features.items()}
        assert found == {'single': [single[row]], 'many': many[row], 'ä' * 80: [which[row]]}
    assert index['examples'].to_pylist() == np.unique(domain, return_counts=True)[1].tolist()
    assert sum(index['bytes'].to_pylist()) == (tmp_path / 'split' / 'part.tfrecord'
                                               ).stat().st_size


def test_parse_example_of_tensorflow_reads_them(tmp_path):
    pieces = encode_features({'a': np.array([3, 300]), 'b': lists([[1, 2], []])})
    with ExampleFile(str(tmp_path / 'x')) as file:
        file.write([pieces])
    records = list(tf.data.TFRecordDataset(str(tmp_path / 'x')).as_numpy_iterator())
    parsed = tf.io.parse_example(records, {
        'a': tf.io.FixedLenFeature([], tf.int64), 'b': tf.io.RaggedFeature(tf.int64)})
    assert parsed['a'].numpy().tolist() == [3, 300]
    assert parsed['b'].to_list() == [[1, 2], []]

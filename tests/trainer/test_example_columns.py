"""Columns of tf.Examples, beside what TensorFlow's parser makes of them."""

import numpy as np
import pytest

from beam_jobs.dataset import Feature
from beam_jobs.errors import UserError
from trainer import tfrecords
from trainer.example_columns import PADDING, read_columns
from trainer.keras import tf
from trainer.tfrecords import Records, decode

SINGLES = ['user_key', 'age', 'a_feature_of_a_long_name', 'click']
SEQUENCES = {'history': 4, 'tags': 300}
SIZES = [0, 1, 127, 128, 300, 16383, 16384, 2**21, 2**31 - 1, 2**35, 2**56 - 1, 2**56,
         2**62 + 3, -1, -2**63]


def serialized(features, order=None):
    example = tf.train.Example()
    for name, ids in features.items():
        example.features.feature[name].int64_list.value.extend(np.atleast_1d(ids).tolist())
    whole = example.SerializeToString(deterministic=True)
    if order is None:
        return whole
    entries = b''.join(_inside(serialized({name: features[name]})) for name in order)
    return b'\x0a' + _varint(len(entries)) + entries


def _inside(example):
    """The entries of an example of one feature."""
    return example[2:] if example[1] < 128 else example[3:]


def _varint(size):
    return bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])


def made(rng, sizes=SIZES, **more):
    return {**more, 'user_key': rng.choice(SIZES), 'age': rng.choice(sizes[:9]),
            'a_feature_of_a_long_name': rng.choice(sizes), 'click': rng.integers(2),
            'history': rng.integers(0, 40_000, rng.integers(7)),
            'tags': rng.integers(0, rng.choice([100, 2**31 - 1]), rng.choice([0, 1, 60, 200]))}


def read(examples):
    records = Records.of(examples, 'file')
    return read_columns(records.data, records.begin, records.end, SINGLES, SEQUENCES)


def by_tensorflow(examples):
    ids = tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True, default_value=-1)
    found = tf.io.parse_example(tf.constant(examples), {
        **dict.fromkeys(SINGLES, tf.io.FixedLenFeature([], tf.int64)),
        **dict.fromkeys(SEQUENCES, ids)})
    for name, length in SEQUENCES.items():
        padded = np.full((len(examples), max(length, found[name].shape[1])), -1)
        padded[:, :found[name].shape[1]] = found[name]
        found[name] = padded[:, :length]
    return found


def same(parsed, expected, rows=slice(None)):
    for name in SINGLES:
        np.testing.assert_array_equal(parsed.singles[name][rows], expected[name][rows])
    for name in SEQUENCES:
        np.testing.assert_array_equal(parsed.sequences[name][rows], expected[name][rows])


@pytest.mark.parametrize('sizes', [SIZES[:1], SIZES[:6], SIZES])
def test_numbers_of_all_sizes_and_lists_of_all_lengths(sizes):
    rng = np.random.default_rng(0)
    examples = [serialized(made(rng, sizes * 9, left_out=[5, 300])) for _ in range(400)]
    parsed = read(examples)
    assert parsed.known.all()
    same(parsed, by_tensorflow(examples))


def test_examples_laid_out_in_another_way_are_not_known():
    rng = np.random.default_rng(1)
    examples = [serialized(made(rng, left_out=5)) for _ in range(9)]
    other = made(rng, left_out=5)
    examples[3] = serialized(other, order=sorted(other, reverse=True))
    examples[5] = serialized(made(rng))
    examples[7] += examples[7]  # of features that are there twice the last one counts
    parsed = read(examples)
    assert np.flatnonzero(~parsed.known).tolist() == [3, 5, 7]
    same(parsed, by_tensorflow(examples), parsed.known)


@pytest.mark.parametrize('examples', [[b''], [b'no example'], [b'\x0a\x05'], [
    serialized({'age': 1})], [serialized({**made(np.random.default_rng(0)), 'x' * 200: 1})]])
def test_a_first_example_that_says_nothing_of_the_others(examples):
    assert not read(examples).known.any()


def test_what_is_known_of_damaged_bytes_is_what_tensorflow_reads():
    """A byte of each example is another, or some are missing or too many."""
    rng = np.random.default_rng(2)
    first = serialized(made(rng))
    known = changed = 0
    for _ in range(40):
        examples = [first]
        for _ in range(60):
            data = bytearray(serialized(made(rng)))
            place = rng.integers(len(data))
            kind = rng.integers(4)
            if kind == 0:
                del data[place:]
            elif kind == 1:
                data[place:place] = rng.bytes(rng.integers(1, 9))
            else:
                data[place] = rng.integers(256)
            examples.append(bytes(data))
        parsed = read(examples)
        known += parsed.known.sum()
        changed += 60
        for place in np.flatnonzero(parsed.known).tolist():
            found = by_tensorflow([examples[place]])
            for name in SINGLES:
                assert parsed.singles[name][place] == found[name][0]
            for name in SEQUENCES:
                np.testing.assert_array_equal(parsed.sequences[name][place],
                                              found[name][0].astype(np.int32))
    assert 0.05 < known / changed < 0.8


FEATURES = [Feature('age', 'categorical', 'user', 10, vocabulary='age'),
            Feature('tags', 'sequence', 'item', 10, vocabulary='tags', length=3)]


def columns(examples):
    return decode(Records.of(examples, 'file'), FEATURES)


def test_rows_that_are_laid_out_unlike_the_others_are_read_all_the_same(monkeypatch):
    rows = [{'age': 7, 'click': 1, 'tags': [1, 2], 'user_key': 5},
            {'tags': [3, 4, 5, 6], 'click': 0, 'user_key': -5},
            {'age': 9, 'click': 1, 'tags': [], 'user_key': 2**40},
            {'age': 8, 'click': 1, 'user_key': 6}]
    examples = [serialized(row) for row in rows]
    by_the_parser = []
    parse = tfrecords._parse_any
    monkeypatch.setattr(tfrecords, '_parse_any', lambda records, *rest: (
        by_the_parser.append(len(records)), parse(records, *rest))[1])
    found = columns(examples)
    assert by_the_parser == [2]
    assert found.singles.tolist() == [[7], [0], [9], [8]]  # 0 stands for what is missing
    assert found.sequences['tags'].tolist() == [[1, 2, -1], [3, 4, 5], [-1] * 3, [-1] * 3]
    assert found.click.tolist() == [1, 0, 1, 1]
    assert found.user_key.tolist() == [5, -5, 2**40, 6]
    again = columns(examples[::-1])  # the first of which lacks what is wanted
    assert again.singles.tolist() == found.singles[::-1].tolist()
    assert by_the_parser[1:] == [4]


def test_no_records():
    found = columns([])
    assert len(found) == 0 and found.sequences['tags'].shape == (0, 3)


@pytest.mark.parametrize('bad', [b'no example', serialized({'age': 1, 'user_key': 2})])
def test_a_record_that_is_no_example_of_the_dataset(bad):
    good = serialized({'age': 7, 'click': 1, 'tags': [1, 2], 'user_key': 5})
    with pytest.raises(UserError, match='file is damaged'):
        columns([good, bad])


def test_blocks_are_joined():
    examples = [serialized({'age': age, 'click': 1, 'tags': [age], 'user_key': 5})
                for age in range(7)]
    first, second = Records.of(examples[:4], 'one'), Records.of(examples[4:], 'two')
    joined = Records.joined([first.take(slice(1, 3)), second.take(slice(0, 0)), second])
    assert [joined[place] for place in range(len(joined))] == [
        examples[place] for place in (1, 2, 4, 5, 6)]
    assert decode(joined, FEATURES).singles[:, 0].tolist() == [1, 2, 4, 5, 6]
    assert Records.joined([first]) is first  # there is room behind it
    assert Records.joined([first.take(slice(0, 2))]) is not second
    assert len(joined.data) >= joined.end[-1] + PADDING

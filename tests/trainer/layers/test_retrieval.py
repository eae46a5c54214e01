"""Retrieval from a long sequence: SIM's hard search, ETA's hashes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from trainer.keras import tf
from trainer.layers.attention.locality_sensitive_hash import LocalitySensitiveHash
from trainer.layers.attention.retrieval import most_similar, same_category
from trainer.layers.inputs.feature_embedding import EmbeddedSequence
from trainer.layers.inputs.item_category import ItemCategory

LENGTH, DIM = 7, 3


def sequence(counts, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(len(counts), LENGTH, DIM))
    mask = np.arange(LENGTH) < np.array(counts)[:, None]
    return EmbeddedSequence(tf.constant(vectors, tf.float32), tf.constant(mask))


@pytest.mark.parametrize('k', [1, 3, 20])
def test_the_last_behaviors_of_the_category(k):
    counts = [7, 4, 0, 5]
    behaviors = sequence(counts)
    categories = np.array([[2, 1, 2, 2, 0, 2, 2], [3, 3, 2, 3, 3, 3, 3], [1] * 7, [0] * 7])
    target = np.array([2, 3, 1, 0])
    found = most_similar(
        behaviors, same_category(tf.constant(categories), tf.constant(target)), k
    )
    for i, count in enumerate(counts):
        places = [j for j in range(count) if categories[i, j] == target[i] and target[i] > 0][
            :k
        ]
        kept = found.mask[i].numpy()
        assert kept.sum() == len(places)
        assert_array_equal(found.vectors[i].numpy()[kept], behaviors.vectors.numpy()[i, places])


def test_the_behaviors_of_the_most_equal_bits():
    behaviors, layer = sequence([7, 5, 0]), LocalitySensitiveHash(bits=16, seed=3)
    target = np.random.default_rng(1).normal(size=(3, DIM)).astype(np.float32)
    scores = layer((tf.constant(target), behaviors.vectors))
    bits = behaviors.vectors.numpy() @ layer.hyperplanes.numpy() > 0
    expected = (bits == (target @ layer.hyperplanes.numpy() > 0)[:, None]).sum(axis=2)
    assert_array_equal(scores, expected)
    found = most_similar(behaviors, scores, 3)
    for i, count in enumerate([7, 5, 0]):
        places = sorted(range(count), key=lambda j, i=i: (-expected[i, j], j))[:3]
        assert_array_equal(
            found.vectors[i].numpy()[found.mask[i].numpy()],
            behaviors.vectors.numpy()[i, places].reshape(-1, DIM),
        )
    assert not layer.trainable_variables
    again = LocalitySensitiveHash.from_config(layer.get_config())
    assert_array_equal(again((tf.constant(target), behaviors.vectors)), scores)


def test_equal_bits_follow_the_angle():
    """The share of different bits is the angle over pi (Charikar 2002, section 3)."""
    layer = LocalitySensitiveHash(bits=4000)
    first = np.array([[1.0, 0, 0]], np.float32)
    for angle in (0.0, np.pi / 6, np.pi / 2, np.pi):
        other = np.array([[[np.cos(angle), np.sin(angle), 0]]], np.float32)
        share = 1 - layer((first, other)).numpy().item() / 4000
        assert share == pytest.approx(angle / np.pi, abs=0.03)


def test_gradients_reach_what_is_retrieved_and_nothing_else():
    behaviors = sequence([7])
    vectors = tf.Variable(behaviors.vectors)
    with tf.GradientTape() as tape:
        found = most_similar(
            EmbeddedSequence(tf.convert_to_tensor(vectors), behaviors.mask),
            tf.constant([[0, 5, -1, 5, 1, 0, 0]]),
            2,
        )
        target = tf.reduce_sum(found.vectors)
    gradient = tf.convert_to_tensor(tape.gradient(target, vectors)).numpy()
    assert_array_equal(gradient[0, :, 0], [0, 1, 0, 1, 0, 0, 0])


def test_item_category_remembers_training_rows():
    layer = ItemCategory(6)
    items, categories = tf.constant([1, 4, 4, 0, 9]), tf.constant([7, 5, 5, 3, 2])
    history = tf.constant([[4, 1, 2], [0, 9, -1]])
    assert_allclose(layer(items, categories, history, training=False), np.zeros((2, 3)))
    assert_allclose(layer(items, categories, history, training=True), [[5, 7, 0], [0, 0, 0]])
    assert_allclose(
        layer(items + 1, categories, history, training=False), [[5, 7, 0], [0, 0, 0]]
    )
    assert not layer.trainable_variables
    assert ItemCategory.from_config(layer.get_config()).items == 6

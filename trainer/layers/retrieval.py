"""Retrieval of the behaviors that go best with the target, from a long sequence."""

from __future__ import annotations

from trainer.keras import tf
from trainer.layers.feature_embedding import Sequence


def most_similar(sequence: Sequence, scores: tf.Tensor, k: int) -> Sequence:
    """The k behaviors of highest score, the more recent first of equal ones.

    Retrieval has no gradient; the behaviors that it returns have theirs.

    Args:
        sequence: vectors [batch, length, dim], most recent first, and mask.
        scores: integers [batch, length]; negative ones are never retrieved.
        k: the most behaviors, fewer where the sequence is shorter.

    Returns:
        Vectors [batch, up to k, dim] and mask, false behind a row's last behavior.
    """
    scores = tf.where(sequence.mask, scores, -1)
    best, places = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
    return Sequence(tf.gather(sequence.vectors, places, batch_dims=1), best >= 0)


def same_category(of_behaviors: tf.Tensor, of_target: tf.Tensor) -> tf.Tensor:
    """Scores of SIM's hard search (Pi et al. 2020): 1 for behaviors of the target's category,
    -1 for others; category 0 is unknown and like no other.

    Args:
        of_behaviors: [batch, length].
        of_target: [batch].
    """
    same = (of_behaviors == of_target[:, None]) & (of_behaviors > 0)
    return tf.where(same, 1, -1)

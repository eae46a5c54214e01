"""Retrieval of the behaviors that are most relevant to the target from a long sequence."""

from __future__ import annotations

from trainer.keras import tf
from trainer.layers.inputs.feature_embedding import EmbeddedSequence


def most_similar(sequence: EmbeddedSequence, scores: tf.Tensor, k: int) -> EmbeddedSequence:
    """Retrieves the k behaviors with the highest scores, the more recent ones if equal.

    Retrieval has no gradient; the retrieved behaviors have theirs.

    Example:

    >>> vectors = tf.constant([[[1.0], [2.0], [3.0]]])
    >>> sequence = EmbeddedSequence(vectors, tf.constant([[True, True, True]]))
    >>> most_similar(sequence, tf.constant([[0, 5, 1]]), k=2).vectors.numpy().tolist()
    [[[2.0], [3.0]]]

    Args:
        sequence: Behaviors, most recent first.
        scores: Integer scores, [batch, length]; behaviors with negative ones are never
            retrieved.
        k: Maximum number of behaviors.

    Returns:
        Vectors [batch, min(k, length), dim], and a mask that is false after a row's last
        retrieved behavior.
    """
    scores = tf.where(sequence.mask, scores, -1)
    best, places = tf.math.top_k(scores, tf.minimum(k, tf.shape(scores)[1]))
    return EmbeddedSequence(tf.gather(sequence.vectors, places, batch_dims=1), best >= 0)


def same_category(behavior_categories: tf.Tensor, target_category: tf.Tensor) -> tf.Tensor:
    """Scores of SIM's hard search (Pi et al. 2020): 1 for behaviors of the target's category,
    -1 for others.

    Category 0 is unknown and equals no other. SIM also embeds the time between each behavior
    and the target; here behaviors have no such embedding.

    Example:

    >>> same_category(tf.constant([[3, 0, 4]]), tf.constant([3])).numpy().tolist()
    [[1, -1, -1]]

    Args:
        behavior_categories: Category of each behavior, [batch, length].
        target_category: Category of the target, [batch].
    """
    same = (behavior_categories == target_category[:, None]) & (behavior_categories > 0)
    return tf.where(same, 1, -1)

"""Moving averages of moments that are right from the first batch."""

from __future__ import annotations

from trainer.keras import tf

WARM_UP = 3.0


def keep_rate(updates: tf.Tensor, momentum: float) -> tf.Tensor:
    """The share of the old average that the next update keeps.

    min(momentum, n / (n + 3)) after n updates: the first update sets the average, later ones
    weigh recent batches more, and a domain of few batches forgets its first, whose
    embeddings had hardly been trained, long before 1 / (1 - momentum) of them have passed.

    Args:
        updates: how many updates the average has had, float32.
        momentum: what the rate rises to.
    """
    return tf.minimum(tf.constant(momentum, updates.dtype), updates / (updates + WARM_UP))

"""From a model's logit to the probability of a click in the whole log."""

from __future__ import annotations

from trainer.keras import tf


def probability(logits: tf.Tensor, keep_negatives: float) -> tf.Tensor:
    """Sigmoid, corrected for negative down-sampling (CTNet 4.1).

    Where a portion w of the negatives was kept, the odds of a click in the dataset are 1 / w
    times the log's, so of the model's own p it is p / (p + (1 - p) / w).

    Args:
        logits: [batch].
        keep_negatives: w, 1 where all were kept.
    """
    return tf.sigmoid(logits + tf.cast(tf.math.log(keep_negatives), logits.dtype))

"""Probability of a click in the whole log, from a model's logit."""

from __future__ import annotations

from trainer.keras import tf


def probability(logits: tf.Tensor, keep_negatives: float) -> tf.Tensor:
    """Sigmoid, corrected for negative down-sampling (CTNet 4.1).

    If a fraction w of the negatives was kept, the odds of a click in the dataset are 1 / w
    times those in the log, where the model's probability p becomes p / (p + (1 - p) / w).

    Args:
        logits: Logits of the model, [batch].
        keep_negatives: w, the fraction of negatives that was kept; 1 for all.
    """
    return tf.sigmoid(logits + tf.cast(tf.math.log(keep_negatives), logits.dtype))

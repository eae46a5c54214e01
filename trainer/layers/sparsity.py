"""The sparsity controlled regularization of AdaSparse (3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.keras import tf


def sparsity_loss(ratios: Sequence[tf.Tensor], lambda_hat: tf.Tensor, r_min: float,
                  r_max: float) -> tf.Tensor:
    """R_s, which drives the share of pruned neurons of every layer into [r_min, r_max].

    AdaSparse, equations 9 and 10, for the ratio r^l of each of L layers:

        R_s = 1/L sum_l lambda^l |r^l - r|        r = (r_min + r_max) / 2
        lambda^l = 0 in [r_min, r_max], else lambda-hat |r^l - r|

    lambda^l is a weight: no gradient flows through it.

    Args:
        ratios: r^1 .. r^L, scalars.
        lambda_hat: the balancing weight of this step.
        r_min: the lower boundary.
        r_max: the upper boundary.
    """
    ratio = tf.stack(list(ratios))
    weight = dynamic_weight(ratio, lambda_hat, r_min, r_max)
    distance = tf.abs(ratio - (r_min + r_max) / 2)
    return tf.reduce_mean(tf.stop_gradient(weight) * distance)


def dynamic_weight(ratio: tf.Tensor, lambda_hat: tf.Tensor, r_min: float,
                   r_max: float) -> tf.Tensor:
    """lambda^l of every ratio (AdaSparse, equation 10), of `ratio`'s shape."""
    distance = tf.abs(ratio - (r_min + r_max) / 2)
    outside = (ratio < r_min) | (ratio > r_max)
    return tf.where(outside, lambda_hat * distance, tf.zeros_like(distance))

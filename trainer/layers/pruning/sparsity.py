"""The sparsity controlled regularization of AdaSparse (3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.keras import tf


def sparsity_loss(
    ratios: Sequence[tf.Tensor], lambda_hat: tf.Tensor, r_min: float, r_max: float
) -> tf.Tensor:
    """R_s, which drives the fraction of pruned neurons of every layer into [r_min, r_max].

    AdaSparse, equations 9 and 10, for the ratio r^l of each of L layers:

        R_s = 1/L sum_l lambda^l |r^l - r|        r = (r_min + r_max) / 2
        lambda^l = 0 in [r_min, r_max], else lambda-hat |r^l - r|

    lambda^l is a weight: no gradient flows through it.

    Example:

    >>> ratios = [tf.constant(0.25), tf.constant(1.0)]
    >>> float(sparsity_loss(ratios, tf.constant(2.0), r_min=0.0, r_max=0.5))
    0.5625

    Args:
        ratios: r^1 .. r^L, scalars.
        lambda_hat: Balancing weight of this step.
        r_min: Lower bound of the ratio.
        r_max: Upper bound of the ratio.
    """
    ratio = tf.stack(list(ratios))
    weight = dynamic_weight(ratio, lambda_hat, r_min, r_max)
    distance = tf.abs(ratio - (r_min + r_max) / 2)
    return tf.reduce_mean(tf.stop_gradient(weight) * distance)


def dynamic_weight(
    ratio: tf.Tensor, lambda_hat: tf.Tensor, r_min: float, r_max: float
) -> tf.Tensor:
    """lambda^l of every ratio (AdaSparse, equation 10), of the shape of `ratio`."""
    distance = tf.abs(ratio - (r_min + r_max) / 2)
    outside = (ratio < r_min) | (ratio > r_max)
    return tf.where(outside, lambda_hat * distance, tf.zeros_like(distance))

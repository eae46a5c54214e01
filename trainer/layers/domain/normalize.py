"""Normalization by the moments of each domain's rows."""

from __future__ import annotations

from typing import NamedTuple

from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch


class Normalized(NamedTuple):
    """Normalized rows and the moments of each present domain's rows.

    Attributes:
        outputs: Normalized rows, [batch, units].
        mean: Mean of each domain's rows, [present, units]; without a gradient.
        variance: Mean squared deviation from it, [present, units]; without a gradient.
    """

    outputs: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor


class BatchMoments(NamedTuple):
    """Moments of each present domain's rows, [present, units].

    Attributes:
        centered: Rows minus `used_mean`, [batch, units].
        used_mean: Mean to normalize by: the rows', or the average if there are too few.
        inverse_deviation: 1 / sqrt(sigma^2 + epsilon), of the rows or of the average.
        mean: Mean of the rows, however few.
        variance: Mean squared deviation of the rows, however few.
    """

    centered: tf.Tensor
    used_mean: tf.Tensor
    inverse_deviation: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor


def batch_moments(
    values: tf.Tensor,
    domains: DomainBatch,
    averages: tuple[tf.Tensor, tf.Tensor],
    epsilon: float,
) -> BatchMoments:
    """Moments by which `normalize` normalizes; it describes the arguments."""
    count = tf.cast(domains.counts(values), tf.float32)[:, None]
    enough = count >= 2
    count = tf.maximum(count, 1.0)  # a batch may have no rows
    mean = domains.sum(values) / count
    used_mean = tf.where(enough, mean, averages[0])
    centered = values - domains.broadcast(used_mean)
    square = domains.sum(tf.square(centered)) / count
    used_variance = tf.where(enough, square, averages[1])
    variance = square - tf.square(mean - used_mean)
    return BatchMoments(
        centered, used_mean, tf.math.rsqrt(used_variance + epsilon), mean, variance
    )


def normalize(
    values: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    domains: DomainBatch,
    averages: tuple[tf.Tensor, tf.Tensor],
    epsilon: float,
) -> Normalized:
    """Normalizes each row by the moments of its domain's rows in the batch.

        gamma (z - mu) / sqrt(sigma^2 + epsilon) + beta

    Domains with fewer than two rows are normalized by their averages instead.

    Example:

    >>> domains = DomainBatch(tf.constant([1, 1, 2]), 3)
    >>> ones, zeros = tf.ones([2, 1]), tf.zeros([2, 1])
    >>> rows = tf.constant([[1.0], [5.0], [9.0]])
    >>> normalize(rows, ones, zeros, domains, (zeros, ones), 0.0).outputs.numpy().tolist()
    [[-1.0], [1.0], [9.0]]

    Args:
        values: z, rows sorted by domain, [batch, units], float32.
        gamma: Scale of each present domain, [present, units].
        beta: Shift of each present domain, [present, units].
        domains: Domains of the rows.
        averages: Mean and variance for domains with too few rows, [present, units].
        epsilon: Constant added to variances.
    """
    moments = batch_moments(values, domains, averages, epsilon)
    scale = gamma * moments.inverse_deviation
    outputs = moments.centered * domains.broadcast(scale) + domains.broadcast(beta)
    return Normalized(
        outputs, tf.stop_gradient(moments.mean), tf.stop_gradient(moments.variance)
    )

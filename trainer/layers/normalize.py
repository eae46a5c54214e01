"""Normalization by the moments of each domain's rows, with its gradient by hand."""

from __future__ import annotations

from typing import NamedTuple

from trainer.custom_gradients import written_gradient
from trainer.keras import tf
from trainer.layers.domain_rows import DomainRows, column_sums


class Moments(NamedTuple):
    """Of the rows of each present domain; everything but `centred` is [present, units].

    Attributes:
        centred: the rows less their mean, [batch, units].
        mean: that the rows are normalized by, theirs or an average.
        inverse: 1 / sqrt(sigma^2 + epsilon), of theirs or of an average.
        own_mean: of the rows, however few.
        own_variance: of the rows, however few.
        count: of the rows, [present, 1]; of no rows 1, so that what it divides is a number.
        enough: whether the rows are normalized by their own moments, [present, 1].
    """

    centred: tf.Tensor
    mean: tf.Tensor
    inverse: tf.Tensor
    own_mean: tf.Tensor
    own_variance: tf.Tensor
    count: tf.Tensor
    enough: tf.Tensor


class Normalized(NamedTuple):
    """Outputs [batch, units], and the moments of the rows, [present, units] each."""

    outputs: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor


class NormalizedDense(NamedTuple):
    """Outputs [batch, units] and [batch, beside], and the moments of the rows, [1, inputs]."""

    outputs: tf.Tensor
    beside: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor


class Dense(NamedTuple):
    """What a dense layer multiplies by: kernel [inputs, units], bias [1, units]."""

    kernel: tf.Tensor
    bias: tf.Tensor


def moments_of(values: tf.Tensor, rows: DomainRows, averages: tuple[tf.Tensor, tf.Tensor],
               epsilon: float) -> Moments:
    """The moments by which `normalize` normalizes; arguments are as there."""
    count = tf.cast(rows.counts(values), tf.float32)[:, None]
    enough = count >= 2
    count = tf.maximum(count, 1.0)
    own_mean = rows.sum(values) / count
    mean = tf.where(enough, own_mean, averages[0])
    centred = values - rows.spread(mean)
    square = rows.sum(tf.square(centred)) / count
    variance = tf.where(enough, square, averages[1])
    return Moments(centred, mean, tf.math.rsqrt(variance + epsilon), own_mean,
                   square - tf.square(own_mean - mean), count, enough)


def normalize(values: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, rows: DomainRows,
              averages: tuple[tf.Tensor, tf.Tensor], epsilon: float) -> Normalized:
    """gamma (z - mu) / sqrt(sigma^2 + epsilon) + beta, with moments of each domain's rows.

    Domains of fewer than two rows are normalized by their averages instead.

    The gradient is written out, which takes a third of the memory traffic of the derived
    one: with x = (z - mu) / s, dz = gamma / s (dy - mean(dy) - x mean(dy x)). The moments have
    none: they are for the moving averages.

    Args:
        values: z, sorted rows [batch, units], float32.
        gamma: [present, units].
        beta: [present, units].
        rows: the rows' domains.
        averages: mean and variance for domains of few rows, [present, units].
        epsilon: added to variances.
    """
    def plain(values, gamma, beta):
        found = moments_of(values, rows, averages, epsilon)
        return [found.centred * rows.spread(gamma * found.inverse) + rows.spread(beta)]

    @tf.custom_gradient
    def outputs_of(values, gamma, beta):
        found = moments_of(values, rows, averages, epsilon)
        scale = gamma * found.inverse

        def written(upstream):
            by_beta = rows.sum(upstream)
            by_scale = rows.sum(upstream * found.centred)
            through = _through_moments(found, scale, by_beta, by_scale)
            by_values = (upstream * rows.spread(scale) - rows.spread(through[0])
                         - found.centred * rows.spread(through[1]))
            return by_values, by_scale * found.inverse, by_beta

        def gradient(upstream, *_):
            return written_gradient(plain, written, [values, gamma, beta], [upstream])
        outputs = found.centred * rows.spread(scale) + rows.spread(beta)
        return (outputs, found.own_mean, found.own_variance), gradient
    outputs, mean, variance = outputs_of(values, gamma, beta)
    return Normalized(outputs, tf.stop_gradient(mean), tf.stop_gradient(variance))


def normalized_dense(values: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, dense: Dense,
                     beside: Dense, rows: DomainRows, averages: tuple[tf.Tensor, tf.Tensor],
                     epsilon: float) -> NormalizedDense:
    """`normalize` and the dense layer behind it, with a dense layer that takes the rows as they
    are beside, for a batch of one domain.

        y = W^T (gamma (z - mu) / s + beta) + b,      y' = W'^T z + b'

    as products with the centred rows c = z - mu,

        y = (gamma / s (x) W)^T c + W^T beta + b,     y' = W'^T c + W'^T mu + b'

    so that scaling and its gradient go over the weights instead of over the rows, and one
    product gives all that the rows' gradient gets from y and y': five passes over the rows
    remain of ten. With G and G' the gradients of y and y', C = c^T G, one product too:

        dW = gamma / s (x) C + beta^T sum(G),     d(gamma / s) = sum_units(C (x) W)

    Args:
        values: z, rows of one domain, [batch, inputs], float32.
        gamma: [1, inputs].
        beta: [1, inputs].
        dense: the layer behind, W and b.
        beside: W' and b'.
        rows: the rows' domain.
        averages: as of `normalize`.
        epsilon: as of `normalize`.
    """
    def plain(values, gamma, beta, kernel, bias, beside_kernel, beside_bias):
        found = moments_of(values, rows, averages, epsilon)
        normalized = found.centred * (gamma * found.inverse) + beta
        return [tf.matmul(normalized, kernel) + bias,
                tf.matmul(values, beside_kernel) + beside_bias]

    @tf.custom_gradient
    def outputs_of(*inputs):
        values, gamma, beta, kernel, bias, beside_kernel, beside_bias = inputs
        found = moments_of(values, rows, averages, epsilon)
        scale = gamma * found.inverse
        scaled = tf.transpose(scale) * kernel
        units = kernel.shape[1]

        def written(upstream, upstream_beside):
            both = tf.concat([upstream, upstream_beside], axis=1)
            sums, products = column_sums(both), tf.matmul(found.centred, both,
                                                          transpose_a=True)
            by_bias, by_beside_bias = sums[:, :units], sums[:, units:]
            by_scaled, by_centred = products[:, :units], products[:, units:]
            by_kernel = tf.transpose(scale) * by_scaled + tf.matmul(
                beta, by_bias, transpose_a=True)
            by_beside = by_centred + tf.matmul(found.mean, by_beside_bias, transpose_a=True)
            by_beta = tf.matmul(by_bias, kernel, transpose_b=True)
            by_scale = tf.reduce_sum(by_scaled * kernel, axis=1)[None]
            through = _through_moments(found, scale, by_beta, by_scale)
            by_values = (tf.matmul(both, tf.concat([scaled, beside_kernel], axis=1),
                                   transpose_b=True)
                         - (found.centred * through[1] + through[0]))
            return (by_values, by_scale * found.inverse, by_beta, by_kernel, by_bias,
                    by_beside, by_beside_bias)

        def gradient(upstream, upstream_beside, *_):
            return written_gradient(plain, written, inputs, [upstream, upstream_beside])
        outputs = tf.nn.bias_add(tf.matmul(found.centred, scaled),
                                 (tf.matmul(beta, kernel) + bias)[0])
        aside = tf.nn.bias_add(tf.matmul(found.centred, beside_kernel),
                               (tf.matmul(found.mean, beside_kernel) + beside_bias)[0])
        return (outputs, aside, found.own_mean, found.own_variance), gradient
    outputs, aside, mean, variance = outputs_of(values, gamma, beta, *dense, *beside)
    return NormalizedDense(outputs, aside, tf.stop_gradient(mean), tf.stop_gradient(variance))


def _through_moments(found: Moments, scale: tf.Tensor, by_beta: tf.Tensor,
                     by_scale: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What a row's gradient loses through the mean, and through the variance times c."""
    mean = tf.where(found.enough, scale * by_beta / found.count, 0.0)
    variance = tf.where(
        found.enough, scale * tf.square(found.inverse) * by_scale / found.count, 0.0)
    return mean, variance

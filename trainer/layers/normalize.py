"""Normalization by the moments of each domain's rows, with its gradient by hand."""

from __future__ import annotations

from typing import NamedTuple

from trainer.keras import tf
from trainer.layers.domain_rows import DomainRows


class Normalized(NamedTuple):
    """Outputs [batch, units], and the moments of the rows, [present, units] each."""

    outputs: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor


def normalize(values: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, rows: DomainRows,
              averages: tuple[tf.Tensor, tf.Tensor], epsilon: float) -> Normalized:
    """gamma (z - mu) / sqrt(sigma^2 + epsilon) + beta, with moments of each domain's rows.

    Domains of fewer than two rows are normalized by their averages instead.

    The gradient is written out, which takes a third of the memory traffic of the derived
    one: with x = (z - mu) / s, dz = gamma / s (dy - mean(dy) - x mean(dy x)). Gradients of
    the gradient are derived. The moments have none: they are for the moving averages.

    Args:
        values: z, sorted rows [batch, units], float32.
        gamma: [present, units].
        beta: [present, units].
        rows: the rows' domains.
        averages: mean and variance for domains of few rows, [present, units].
        epsilon: added to variances.
    """
    count = tf.cast(rows.counts(values), tf.float32)[:, None]
    enough = count >= 2
    count = tf.maximum(count, 1.0)  # a batch of no rows has moments that are numbers

    def moments(values):
        own_mean = rows.sum(values) / count
        mean = tf.where(enough, own_mean, averages[0])
        centred = values - rows.spread(mean)
        square = rows.sum(tf.square(centred)) / count
        variance = tf.where(enough, square, averages[1])
        return centred, tf.math.rsqrt(variance + epsilon), own_mean, (
            square - tf.square(own_mean - mean))

    def derived(values, gamma, upstream):
        """The gradient as TensorFlow finds it, which can itself be differentiated."""
        with tf.GradientTape() as tape:
            tape.watch([values, gamma])
            centred, inverse, _, _ = moments(values)
            outputs = centred * rows.spread(gamma * inverse)
        return tape.gradient(outputs, [values, gamma], upstream)

    @tf.custom_gradient
    def outputs_of(values, gamma, beta):
        centred, inverse, own_mean, own_variance = moments(values)
        scale = gamma * inverse

        @tf.custom_gradient
        def gradient_of(values, gamma, upstream):
            by_beta = rows.sum(upstream)
            by_scale = rows.sum(upstream * centred)
            through_mean = tf.where(enough, scale * by_beta / count, 0.0)
            through_variance = tf.where(
                enough, scale * tf.square(inverse) * by_scale / count, 0.0)
            by_values = (upstream * rows.spread(scale) - rows.spread(through_mean)
                         - centred * rows.spread(through_variance))

            def second(*upstreams):
                with tf.GradientTape() as tape:
                    tape.watch([values, gamma, upstream])
                    again = derived(values, gamma, upstream)
                return tape.gradient(again, [values, gamma, upstream], upstreams,
                                     unconnected_gradients='zero')
            return (by_values, by_scale * inverse), second

        def gradient(upstream, *_):
            upstream = tf.convert_to_tensor(upstream)
            return (*gradient_of(values, gamma, upstream), rows.sum(upstream))
        outputs = centred * rows.spread(scale) + rows.spread(beta)
        return (outputs, own_mean, own_variance), gradient
    outputs, mean, variance = outputs_of(values, gamma, beta)
    return Normalized(outputs, tf.stop_gradient(mean), tf.stop_gradient(variance))

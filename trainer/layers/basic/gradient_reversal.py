"""Gradient reversal."""

from __future__ import annotations

from typing import Any

from trainer.keras import tf


def reverse_gradient(inputs: tf.Tensor, strength: tf.Tensor | float) -> tf.Tensor:
    """Returns the inputs and multiplies their gradient by `-strength`.

    The layers after it minimize a loss that the layers before it are thereby trained to
    increase (Ganin et al. 2016, equations 14 and 15).

    Example:

    >>> x = tf.constant([1.0, 2.0])
    >>> with tf.GradientTape() as tape:
    ...     tape.watch(x)
    ...     y = tf.reduce_sum(reverse_gradient(x, 0.5))
    >>> tape.gradient(y, x).numpy().tolist()
    [-0.5, -0.5]

    Args:
        inputs: Tensor of any shape.
        strength: Factor of the reversed gradient, a scalar.
    """

    @tf.custom_gradient
    def reverse(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return tf.identity(values), lambda upstream: -tf.cast(strength, values.dtype) * upstream

    return reverse(inputs)

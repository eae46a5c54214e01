"""Gradient scaling."""

from __future__ import annotations

from typing import Any

from trainer.keras import tf


def scale_gradient(inputs: tf.Tensor, factor: float) -> tf.Tensor:
    """Returns the inputs and multiplies their gradient by `factor`.

    Scaling the gradient of logits has the effect of weighting the loss of their rows.

    Example:

    >>> x = tf.constant([1.0, 2.0])
    >>> with tf.GradientTape() as tape:
    ...     tape.watch(x)
    ...     y = tf.reduce_sum(scale_gradient(x, 3.0))
    >>> tape.gradient(y, x).numpy().tolist()
    [3.0, 3.0]

    Args:
        inputs: Tensor of any shape.
        factor: Factor of the gradient.
    """

    @tf.custom_gradient
    def scale(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return tf.identity(values), lambda upstream: tf.cast(factor, values.dtype) * upstream

    return scale(inputs)

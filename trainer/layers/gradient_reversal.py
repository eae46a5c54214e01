"""Gradient reversal."""

from __future__ import annotations

from trainer.keras import tf


def reverse_gradient(inputs: tf.Tensor, strength: tf.Tensor | float) -> tf.Tensor:
    """The inputs as they are; their gradient times `-strength`.

    What lies behind minimizes a loss that what lies before is thereby made to raise (Ganin et
    al. 2016, equations 14 and 15).
    """
    @tf.custom_gradient
    def reverse(values):
        return tf.identity(values), lambda upstream: -tf.cast(strength, values.dtype) * upstream
    return reverse(inputs)

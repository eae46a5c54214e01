"""A learned weight between 0 and 1."""

from __future__ import annotations

import math
from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class BalancedWeight(keras.layers.Layer):
    """Weighted mean of two tensors, or a multiple of one, with a learned weight.

    Of M3oE (Zhang et al. 2024), for a scalar parameter s:

        w x + (1 - w) y    or, without y,    w x        w = sigmoid(s)

    Example:

    >>> layer = BalancedWeight(initial=0.75)
    >>> layer([tf.constant([4.0]), tf.constant([8.0])]).numpy().tolist()
    [5.0]
    >>> layer([tf.constant([4.0])]).numpy().tolist()
    [3.0]

    Args:
        initial: Initial value of w, in (0, 1).

    Shapes: a list of one or two tensors of the same shape to that shape.
    """

    def __init__(self, initial: float = 0.5, **kwargs: Any):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape: Any) -> None:
        self.log_odds = self.add_weight(
            'log_odds',
            (),
            initializer=keras.initializers.Constant(
                math.log(self.initial) - math.log1p(-self.initial)
            ),
        )
        super().build(input_shape)

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        weight = tf.sigmoid(self.log_odds)
        first, *others = inputs
        return weight * first + sum((1 - weight) * other for other in others)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'initial': self.initial}

"""A recurrent network over a user's clicks."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class BehaviorStates(keras.layers.Layer):
    """States of a GRU (Cho et al. 2014) that reads a user's clicks in chronological order.

    Clicks are stored most recent first and read from the last one on; the state at a click's
    position is the one after reading it.

    Example:

    >>> layer = BehaviorStates(units=4)
    >>> layer(tf.ones([2, 3, 8]), tf.constant([[True, True, False]] * 2)).shape
    TensorShape([2, 3, 4])

    Args:
        units: Width of the states.

    Shapes: clicks [batch, length, dim] and mask [batch, length], true for the first positions,
    to [batch, length, units]; the states at padded positions are undefined.
    """

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.network = keras.layers.RNN(
            keras.layers.GRUCell(units), return_sequences=True, name='gru'
        )

    def call(self, clicks: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        # A column of padding in front: Keras cannot read a sequence of length 0.
        clicks = tf.pad(clicks[:, ::-1], [[0, 0], [1, 0], [0, 0]])
        mask = tf.pad(mask[:, ::-1], [[0, 0], [1, 0]])
        return self.network(clicks, mask=mask)[:, :0:-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units}

"""A recurrent network over a user's clicks."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class BehaviorStates(keras.layers.Layer):
    """The states of a GRU (Cho et al. 2014) that reads a user's clicks in the order of time.

    Clicks come most recent first, and are read from the last one on; the state beside a click
    is that after reading it.

    Args:
        units: the width of the states.

    Shapes: clicks [batch, length, dim] with mask [batch, length], true in front, to [batch,
    length, units]; what stands beside padding means nothing.
    """

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.network = keras.layers.RNN(keras.layers.GRUCell(units), return_sequences=True,
                                        name='gru')

    def call(self, clicks: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        # A column of padding in front: Keras cannot read a sequence of no length.
        clicks = tf.pad(clicks[:, ::-1], [[0, 0], [1, 0], [0, 0]])
        mask = tf.pad(mask[:, ::-1], [[0, 0], [1, 0]])
        return self.network(clicks, mask=mask)[:, :0:-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units}

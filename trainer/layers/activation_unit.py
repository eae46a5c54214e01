"""The local activation unit of DIN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class ActivationUnit(keras.layers.Layer):
    """The sum of a user's past behaviors, each weighted by how it goes with the target item.

    Deep Interest Network (Zhou et al. 2018), equation 3:

        v_U(A) = sum_j a(e_j, v_A) e_j

    over the behaviors e_j of a row with the target v_A, where a is a network over [e_j, e_j -
    v_A, e_j (x) v_A, v_A]. As there, the weights are no softmax: their sum says how strong
    the user's interest is. A row without behaviors gives zeros.

    Args:
        hidden_units: of a, before its one output.
        activation: of its hidden layers, a Keras activation's name. DIN's Dice and PReLU
            differ from it where the input is negative.

    Shapes: target [batch, dim], behaviors [batch, length, dim], mask [batch, length] to
    [batch, dim].
    """

    def __init__(self, hidden_units: Sequence[int] = (36,), activation: str = 'sigmoid',
                 **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden_units, self.activation = list(hidden_units), activation
        self.hidden = [keras.layers.Dense(units, activation=activation, name=f'hidden_{i}')
                       for i, units in enumerate(self.hidden_units)]
        self.weight = keras.layers.Dense(1, name='weight')

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], mask: tf.Tensor) -> tf.Tensor:
        """Attends from the target to the behaviors, `inputs`, where `mask` is true."""
        target, behaviors = inputs
        targets = tf.broadcast_to(target[:, None, :], tf.shape(behaviors))
        hidden = tf.concat([behaviors, behaviors - targets, behaviors * targets, targets],
                           axis=2)
        for layer in self.hidden:
            hidden = layer(hidden)
        weights = self.weight(hidden) * tf.cast(mask, behaviors.dtype)[:, :, None]
        return tf.reduce_sum(weights * behaviors, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'hidden_units': self.hidden_units,
                'activation': self.activation}

"""The local activation unit of DIN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class ActivationUnit(keras.layers.Layer):
    """Sum of a user's past behaviors, each weighted by its relevance to the target item.

    Deep Interest Network (Zhou et al. 2018), equation 3:

        v_U(A) = sum_j a(e_j, v_A) e_j

    for the behaviors e_j and the target v_A, where a is a network over [e_j, e_j - v_A,
    e_j (x) v_A, v_A]. As in the paper, the weights are not a softmax: their sum expresses the
    strength of the user's interest. A row without behaviors gives zeros.

    Example:

    >>> layer = ActivationUnit(hidden_units=[8])
    >>> target, behaviors = tf.ones([2, 4]), tf.ones([2, 3, 4])
    >>> mask = tf.constant([[True, True, False], [False, False, False]])
    >>> outputs = layer((target, behaviors), mask)
    >>> outputs.shape, outputs[1].numpy().tolist()
    (TensorShape([2, 4]), [0.0, 0.0, 0.0, 0.0])

    Args:
        hidden_units: Widths of the hidden layers of a.
        activation: Activation of the hidden layers, name of a Keras activation. DIN's Dice
            and PReLU differ from it for negative inputs.

    Shapes: target [batch, dim], behaviors [batch, length, dim] and mask [batch, length] to
    [batch, dim].
    """

    def __init__(
        self, hidden_units: Sequence[int] = (36,), activation: str = 'sigmoid', **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.hidden_units, self.activation = list(hidden_units), activation
        self.hidden = [
            keras.layers.Dense(units, activation=activation, name=f'hidden_{i}')
            for i, units in enumerate(self.hidden_units)
        ]
        self.weight = keras.layers.Dense(1, name='weight')

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], mask: tf.Tensor) -> tf.Tensor:
        """Computes the weighted sum.

        Args:
            inputs: Target and behaviors.
            mask: Whether a behavior is present, bool [batch, length].
        """
        target, behaviors = inputs
        targets = tf.broadcast_to(target[:, None, :], tf.shape(behaviors))
        hidden = tf.concat(
            [behaviors, behaviors - targets, behaviors * targets, targets], axis=2
        )
        for layer in self.hidden:
            hidden = layer(hidden)
        weights = self.weight(hidden) * tf.cast(mask, behaviors.dtype)[:, :, None]
        return tf.reduce_sum(weights * behaviors, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'hidden_units': self.hidden_units,
            'activation': self.activation,
        }

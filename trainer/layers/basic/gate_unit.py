"""The gate of PEPNet, which scales vectors by factors in (0, gamma)."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class GateUnit(keras.layers.Layer):
    """Two layers whose outputs are factors between 0 and gamma.

    Gate neural unit of PEPNet (Chang et al. 2023, Gate NU), for an input x:

        x' = ReLU(W x + b)        delta = gamma sigmoid(W' x' + b')

    With gamma = 2 and small weights the factors start near 1.

    Example:

    >>> factors = GateUnit(4, hidden_units=8)(tf.ones([2, 6]))
    >>> factors.shape, bool(tf.reduce_all((factors > 0) & (factors < 2)))
    (TensorShape([2, 4]), True)

    Args:
        units: Number of factors.
        hidden_units: Width of x'.
        gamma: Greatest factor.

    Shapes: inputs [batch, c] to [batch, units].
    """

    def __init__(self, units: int, hidden_units: int, gamma: float = 2.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.hidden_units, self.gamma = units, hidden_units, gamma
        self.hidden = keras.layers.Dense(hidden_units, activation='relu', name='hidden')
        self.factors = keras.layers.Dense(units, activation='sigmoid', name='factors')

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.gamma * self.factors(self.hidden(inputs))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'units': self.units,
            'hidden_units': self.hidden_units,
            'gamma': self.gamma,
        }

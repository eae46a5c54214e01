"""What a frozen tower knows, let through a gate (CTNet 3.3)."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class GatedAdapter(keras.layers.Layer):
    """Maps a hidden vector of the source tower into the target tower's layer.

    CTNet, equation 5, after GLU (Dauphin et al. 2017):

        g(z) = U_1 z (x) sigma(U_2 z)

    Its output is added to what enters the activation of the target's layer (equation 4), so
    the target tower keeps its widths. Both matrices start at very small values, with which g
    is nearly zero and the model is nearly the target's alone.

    Args:
        units: of the target's layer.
        scale: the standard deviation of the first values.

    Shapes: z [batch, c] to [batch, units].
    """

    def __init__(self, units: int, scale: float = 1e-5, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.scale = units, scale

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = (input_shape[-1], self.units)
        self.value, self.gate = (
            self.add_weight(name, shape,
                            initializer=keras.initializers.RandomNormal(stddev=self.scale))
            for name in ('value', 'gate'))
        super().build(input_shape)

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        return tf.matmul(hidden, self.value) * tf.sigmoid(tf.matmul(hidden, self.gate))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units, 'scale': self.scale}

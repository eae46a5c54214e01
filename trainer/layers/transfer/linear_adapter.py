"""An adapter without a gate, for comparison (CTNet 4.5)."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class LinearAdapter(keras.layers.Layer):
    """Maps a hidden vector of the source tower into a layer of the target tower: g(z) = U z.

    CTNet (w/o GLU) of Table 2 has it in place of `GatedAdapter`, with the same arguments.

    Example:

    >>> LinearAdapter(8)(tf.ones([2, 4])).shape
    TensorShape([2, 8])

    Args:
        units: Width of the target's layer.
        scale: Standard deviation of the initial values.

    Shapes: z [batch, c] to [batch, units].
    """

    def __init__(self, units: int, scale: float = 1e-5, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.scale = units, scale

    def build(self, input_shape: tf.TensorShape) -> None:
        self.value = self.add_matrix('value', input_shape)
        super().build(input_shape)

    def add_matrix(self, name: str, input_shape: tf.TensorShape) -> tf.Variable:
        """Adds a matrix of small values, with which the adapter's output is nearly zero."""
        return self.add_weight(
            name,
            (input_shape[-1], self.units),
            initializer=keras.initializers.RandomNormal(stddev=self.scale),
        )

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        return tf.matmul(hidden, self.value)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units, 'scale': self.scale}

"""A gated adapter between a frozen source tower and a target tower (CTNet 3.3)."""

from __future__ import annotations

from trainer.keras import keras, tf
from trainer.layers.transfer.linear_adapter import LinearAdapter


@keras.utils.register_keras_serializable('mdctr')
class GatedAdapter(LinearAdapter):
    """Maps a hidden vector of the source tower into a layer of the target tower.

    CTNet, equation 5, after GLU (Dauphin et al. 2017):

        g(z) = U_1 z (x) sigma(U_2 z)

    Its output is added to the input of the activation of the target's layer (equation 4), so
    that the target tower keeps its widths. Both matrices start at very small values, with
    which g is nearly zero and the model is nearly the target alone.

    Example:

    >>> GatedAdapter(8)(tf.ones([2, 4])).shape
    TensorShape([2, 8])

    Args:
        units: Width of the target's layer.
        scale: Standard deviation of the initial values.

    Shapes: z [batch, c] to [batch, units].
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        super().build(input_shape)
        self.gate = self.add_matrix('gate', input_shape)

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        return tf.matmul(hidden, self.value) * tf.sigmoid(tf.matmul(hidden, self.gate))

"""Target attention over a user's behaviors (CTNet 3.1)."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.multi_head import MultiHeadAttention


@keras.utils.register_keras_serializable('mdctr')
class TargetAttention(keras.layers.Layer):
    """Attention with the target item as the query and past behaviors as keys and values.

    CTNet, 3.1 (A_TA, A_SIM and A_ETA of equation 3 are its outputs), in several heads (4.2).

    Args:
        heads: how many, the paper's 8.
        head_dim: the width of each head; the paper's is 256 / 8.

    Shapes: target [batch, dim], behaviors [batch, length, dim], mask [batch, length] to
    [batch, dim]; a row without behaviors gives zeros.
    """

    def __init__(self, heads: int = 8, head_dim: int = 8, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads, self.head_dim = heads, head_dim
        self.attention = MultiHeadAttention(heads, head_dim, name='attention')

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], mask: tf.Tensor) -> tf.Tensor:
        """Attends from the target to the behaviors, `inputs`, where `mask` is true."""
        target, behaviors = inputs
        return tf.squeeze(self.attention((target[:, None, :], behaviors), mask), axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'heads': self.heads, 'head_dim': self.head_dim}

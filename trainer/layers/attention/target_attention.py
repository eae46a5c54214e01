"""Target attention over a user's behaviors (CTNet 3.1)."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.attention.multi_head_attention import MaskedMultiHeadAttention


@keras.utils.register_keras_serializable('mdctr')
class TargetAttention(keras.layers.Layer):
    """Attention with the target item as query and past behaviors as keys and values.

    CTNet, 3.1 (A_TA, A_SIM and A_ETA of equation 3 are its outputs), with several heads (4.2).
    A row without behaviors gives zeros.

    Example:

    >>> layer = TargetAttention(heads=2, head_dim=4)
    >>> layer((tf.ones([2, 8]), tf.ones([2, 3, 8])), tf.ones([2, 3], tf.bool)).shape
    TensorShape([2, 8])

    Args:
        heads: Number of heads; the paper has 8.
        head_dim: Width of each head; the paper's is 256 / 8.

    Shapes: target [batch, dim], behaviors [batch, length, dim] and mask [batch, length] to
    [batch, dim].
    """

    def __init__(self, heads: int = 8, head_dim: int = 8, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads, self.head_dim = heads, head_dim
        self.attention = MaskedMultiHeadAttention(heads, head_dim, name='attention')

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], mask: tf.Tensor) -> tf.Tensor:
        """Attends from the target to the behaviors for which `mask` is true."""
        target, behaviors = inputs
        return tf.squeeze(self.attention((target[:, None, :], behaviors), mask), axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'heads': self.heads, 'head_dim': self.head_dim}

"""A single-layer Transformer encoder of a user's behaviors (CTNet 3.1)."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.attention.multi_head_attention import MaskedMultiHeadAttention


@keras.utils.register_keras_serializable('mdctr')
class TransformerEncoder(keras.layers.Layer):
    """One layer of the Transformer's encoder (Vaswani et al. 2017, 3.1 and 3.3).

        a = LayerNorm(x + attention(x, x))
        out = LayerNorm(a + relu(a W_1 + b_1) W_2 + b_2)

    for x = the behaviors plus a trained vector for each position. Padding is not attended to,
    and its own outputs are undefined.

    Example:

    >>> layer = TransformerEncoder(length=5, heads=2, head_dim=4)
    >>> layer(tf.ones([2, 3, 8]), tf.ones([2, 3], tf.bool)).shape
    TensorShape([2, 3, 8])

    Args:
        length: Maximum number of positions.
        heads: Number of heads of the attention.
        head_dim: Width of each head.
        inner_units: Width between W_1 and W_2; four times the input's if absent.

    Shapes: behaviors [batch, up to length, dim] and mask [batch, up to length] to the shape of
    the behaviors.
    """

    def __init__(
        self,
        length: int,
        heads: int = 8,
        head_dim: int = 8,
        inner_units: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.length, self.heads, self.head_dim = length, heads, head_dim
        self.inner_units = inner_units

    def build(self, input_shape: tf.TensorShape) -> None:
        dim = input_shape[-1]
        self.positions = self.add_weight(
            'positions',
            (self.length, dim),
            initializer=keras.initializers.RandomUniform(-0.05, 0.05),
        )
        self.attention = MaskedMultiHeadAttention(self.heads, self.head_dim, name='attention')
        self.inner = keras.layers.Dense(
            self.inner_units or 4 * dim, activation='relu', name='inner'
        )
        self.outer = keras.layers.Dense(dim, name='outer')
        self.norms = [
            keras.layers.LayerNormalization(epsilon=1e-6, name=f'norm_{i}') for i in range(2)
        ]
        super().build(input_shape)

    def call(self, behaviors: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Encodes the behaviors for which `mask` is true."""
        values = behaviors + self.positions[: tf.shape(behaviors)[1]]
        attended = self.norms[0](values + self.attention((values, values), mask))
        return self.norms[1](attended + self.outer(self.inner(attended)))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'length': self.length,
            'heads': self.heads,
            'head_dim': self.head_dim,
            'inner_units': self.inner_units,
        }

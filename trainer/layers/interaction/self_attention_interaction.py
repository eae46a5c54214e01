"""The interacting layer of AutoInt."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class SelfAttentionInteraction(keras.layers.Layer):
    """Self-attention of each field to all fields, in several heads, with a residual connection.

    AutoInt (Song et al. 2019), equations 5 to 8, for the fields e_1 .. e_F of a row:

        a^h_mk = softmax over k of <W_Q^h e_m, W_K^h e_k>
        e'_m = concatenation over the heads h of sum_k a^h_mk W_V^h e_k
        out_m = ReLU(e'_m + W_res e_m)

    Example:

    >>> SelfAttentionInteraction(heads=2, head_dim=3)(tf.ones([2, 5, 4])).shape
    TensorShape([2, 5, 6])

    Args:
        heads: Number of heads.
        head_dim: Width of each head.

    Shapes: inputs [batch, fields, dim] to [batch, fields, heads * head_dim].
    """

    def __init__(self, heads: int, head_dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads, self.head_dim = heads, head_dim

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = (input_shape[-1], self.heads * self.head_dim)
        self.query, self.key, self.value, self.residual = (
            self.add_weight(name, shape, initializer='glorot_uniform')
            for name in ('query', 'key', 'value', 'residual')
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        query, key, value = (
            self._heads(tf.tensordot(inputs, weights, 1))
            for weights in (self.query, self.key, self.value)
        )
        attention = tf.nn.softmax(tf.matmul(query, key, transpose_b=True))
        attended = tf.transpose(tf.matmul(attention, value), [0, 2, 1, 3])
        residual = tf.tensordot(inputs, self.residual, 1)
        return tf.nn.relu(tf.reshape(attended, tf.shape(residual)) + residual)

    def _heads(self, values: tf.Tensor) -> tf.Tensor:
        """Splits [batch, fields, heads * head_dim] into [batch, heads, fields, head_dim]."""
        shape = [-1, values.shape[1], self.heads, self.head_dim]
        return tf.transpose(tf.reshape(values, shape), [0, 2, 1, 3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'heads': self.heads, 'head_dim': self.head_dim}

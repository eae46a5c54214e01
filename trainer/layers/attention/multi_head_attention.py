"""Multi-head attention over sequences with padding."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.earlier_names import registered_earlier_as


@registered_earlier_as('MultiHeadAttention')
@keras.utils.register_keras_serializable('mdctr')
class MaskedMultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention with several heads (Vaswani et al. 2017, 3.2).

    For queries Q and values V, which are the keys too:

        head_h = softmax(Q W_Q^h (V W_K^h)^T / sqrt(head_dim)) V W_V^h
        outputs = [head_1, ..., head_H] W_O

    over the values for which the mask is true. If it is true for none, the heads are zero,
    while Keras's layer attends to all of them.

    Example:

    >>> layer = MaskedMultiHeadAttention(heads=2, head_dim=4)
    >>> queries, values = tf.ones([2, 1, 8]), tf.ones([2, 3, 8])
    >>> mask = tf.constant([[True, True, False], [False, False, False]])
    >>> outputs = layer((queries, values), mask)
    >>> outputs.shape, float(tf.norm(outputs[1]))
    (TensorShape([2, 1, 8]), 0.0)

    Args:
        heads: Number of heads, H.
        head_dim: Width of each head.
        units: Width of the outputs; that of the queries if absent.

    Shapes: queries [batch, n, dim], values [batch, length, dim] and mask [batch, length] to
    [batch, n, units].
    """

    def __init__(self, heads: int, head_dim: int, units: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads, self.head_dim, self.units = heads, head_dim, units

    def build(self, input_shape: tuple[tf.TensorShape, tf.TensorShape]) -> None:
        queries, values = (shape[-1] for shape in input_shape)
        width = self.heads * self.head_dim
        self.query, self.key, self.value, self.output_kernel = (
            self.add_weight(name, shape, initializer='glorot_uniform')
            for name, shape in (
                ('query', (queries, width)),
                ('key', (values, width)),
                ('value', (values, width)),
                ('output', (width, self.units or queries)),
            )
        )
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], mask: tf.Tensor) -> tf.Tensor:
        """Attends from queries to values.

        Args:
            inputs: Queries and values.
            mask: Whether a value is present, bool [batch, length].
        """
        queries, values = inputs
        query = self._heads(queries, self.query) * self.head_dim**-0.5
        scores = tf.matmul(query, self._heads(values, self.key), transpose_b=True)
        attention = masked_softmax(scores, mask[:, None, None, :])
        heads = tf.matmul(attention, self._heads(values, self.value))
        shape = [tf.shape(queries)[0], tf.shape(queries)[1], self.heads * self.head_dim]
        concatenated = tf.reshape(tf.transpose(heads, [0, 2, 1, 3]), shape)
        return tf.tensordot(concatenated, self.output_kernel, 1)

    def _heads(self, values: tf.Tensor, kernel: tf.Variable) -> tf.Tensor:
        """Projects [batch, length, dim] to [batch, heads, length, head_dim]."""
        projected = tf.tensordot(values, kernel, 1)
        shape = [tf.shape(values)[0], tf.shape(values)[1], self.heads, self.head_dim]
        return tf.transpose(tf.reshape(projected, shape), [0, 2, 1, 3])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'heads': self.heads,
            'head_dim': self.head_dim,
            'units': self.units,
        }


def masked_softmax(scores: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Softmax over the entries of the last axis for which `mask` is true; 0 for the others.

    >>> masked_softmax(tf.zeros([3]), tf.constant([True, True, False])).numpy().tolist()
    [0.5, 0.5, 0.0]
    """
    lowest = tf.constant(-1e4 if scores.dtype == tf.float16 else -1e9, scores.dtype)
    weights = tf.nn.softmax(tf.where(mask, scores, lowest))
    return tf.where(mask, weights, tf.zeros_like(weights))

"""Attention in several heads over behaviors, some of which are padding."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention in heads (Vaswani et al. 2017, 3.2).

    For the queries Q and the values V, which are the keys too:

        head_h = softmax(Q W_Q^h (V W_K^h)^T / sqrt(head_dim)) V W_V^h
        outputs = [head_1, ..., head_H] W_O

    over the values that the mask leaves; where it leaves none, the heads are zero. (Keras's own
    layer attends to everything there.)

    Args:
        heads: H.
        head_dim: the width of each head.
        units: the width of the outputs, that of the queries when absent.

    Shapes: queries [batch, n, dim], values [batch, length, dim], mask [batch, length] to
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
            for name, shape in (('query', (queries, width)), ('key', (values, width)),
                                ('value', (values, width)),
                                ('output', (width, self.units or queries))))
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor], mask: tf.Tensor) -> tf.Tensor:
        """Attends from the queries to the values, `inputs`, where `mask` is true."""
        queries, values = inputs
        query = self._heads(queries, self.query) * self.head_dim ** -0.5
        scores = tf.matmul(query, self._heads(values, self.key), transpose_b=True)
        attention = masked_softmax(scores, mask[:, None, None, :])
        heads = tf.matmul(attention, self._heads(values, self.value))
        width = self.heads * self.head_dim
        joined = tf.reshape(tf.transpose(heads, [0, 2, 1, 3]),
                            [tf.shape(queries)[0], tf.shape(queries)[1], width])
        return tf.tensordot(joined, self.output_kernel, 1)

    def _heads(self, values: tf.Tensor, kernel: tf.Variable) -> tf.Tensor:
        """[batch, length, dim] -> [batch, heads, length, head_dim]."""
        projected = tf.tensordot(values, kernel, 1)
        shape = [tf.shape(values)[0], tf.shape(values)[1], self.heads, self.head_dim]
        return tf.transpose(tf.reshape(projected, shape), [0, 2, 1, 3])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'heads': self.heads, 'head_dim': self.head_dim,
                'units': self.units}


def masked_softmax(scores: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The softmax over the last axis where `mask` is true; elsewhere, and where nothing is
    left, 0."""
    least = tf.constant(-1e4 if scores.dtype == tf.float16 else -1e9, scores.dtype)
    weights = tf.nn.softmax(tf.where(mask, scores, least))
    return tf.where(mask, weights, tf.zeros_like(weights))

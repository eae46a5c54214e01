"""The router of AdaptDHM, which assigns rows to clusters."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class ClusterRouter(keras.layers.Layer):
    """Assigns each row to the cluster whose center is the most similar one.

    Distribution adaptation of AdaptDHM (Li et al. 2022), for rows x_i and centers c_k of length
    1. In training, the centers first follow the rows of the batch, `iterations` times:

        r_i = softmax over k of (x_i^T c_k)
        c_k <- n(momentum c_k + (1 - momentum) sum_i r_ik x_i)        n(v) = v / |v|

    Then, and at inference, row i is of the cluster k with the greatest x_i^T c_k. No gradient
    passes through the assignment; the centers are not parameters but move with the batches.

    Example:

    >>> layer = ClusterRouter(clusters=2)
    >>> rows = tf.constant([[1.0, 0.0], [0.0, 3.0]])
    >>> _ = layer(rows)
    >>> layer.centers.assign([[0.0, 1.0], [1.0, 0.0]])  # doctest: +ELLIPSIS
    <tf.Variable ...>
    >>> layer(rows).numpy().tolist()
    [1, 0]

    Args:
        clusters: Number of clusters.
        momentum: Weight of a center's previous value, in [0, 1).
        iterations: Number of updates of the centers per training batch.

    Shapes: inputs [batch, c] to the rows' clusters, int32 [batch].
    """

    def __init__(
        self, clusters: int, momentum: float = 0.9, iterations: int = 3, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.clusters, self.momentum, self.iterations = clusters, momentum, iterations

    def build(self, input_shape: tf.TensorShape) -> None:
        self.centers = self.add_weight(
            'centers',
            (self.clusters, input_shape[-1]),
            initializer=_random_directions,
            trainable=False,
            dtype=tf.float32,
            experimental_autocast=False,
            aggregation=tf.VariableAggregation.MEAN,
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        rows = tf.stop_gradient(tf.cast(inputs, tf.float32))
        centers = tf.identity(self.centers)
        if training:
            for _ in range(self.iterations):
                shares = tf.nn.softmax(tf.matmul(rows, centers, transpose_b=True))
                sums = tf.matmul(shares, rows, transpose_a=True)
                centers = tf.math.l2_normalize(
                    self.momentum * centers + (1 - self.momentum) * sums, axis=1
                )
            self.centers.assign(centers)
        similarities = tf.matmul(rows, centers, transpose_b=True)
        return tf.argmax(similarities, axis=1, output_type=tf.int32)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'clusters': self.clusters,
            'momentum': self.momentum,
            'iterations': self.iterations,
        }


def _random_directions(shape: tuple[int, int], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
    values = keras.initializers.RandomNormal(stddev=1.0)(shape, dtype=dtype)
    return tf.math.l2_normalize(values, axis=1)

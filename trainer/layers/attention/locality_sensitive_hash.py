"""Similarity by locality-sensitive hashing, for ETA's retrieval."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class LocalitySensitiveHash(keras.layers.Layer):
    """Number of equal bits in the hashes of the target and of each behavior.

    ETA (Chen et al. 2021) after SimHash (Charikar 2002): bit i of a vector e is the side of a
    random hyperplane on which it lies, [e R]_i > 0, so that the fraction of equal bits of two
    vectors falls with the angle between them. R is drawn once and never trained.

    Example:

    >>> layer = LocalitySensitiveHash(bits=16)
    >>> target = tf.constant([[1.0, 2.0]])
    >>> layer((target, tf.stack([target, -target], axis=1))).numpy().tolist()
    [[16, 0]]

    Args:
        bits: Number of bits of a hash.
        seed: Random seed of the hyperplanes.

    Shapes: target [batch, dim] and behaviors [batch, length, dim] to int32 [batch, length],
    from 0 to `bits`.
    """

    def __init__(self, bits: int = 32, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.bits, self.seed = bits, seed

    def build(self, input_shape: tuple[tf.TensorShape, tf.TensorShape]) -> None:
        self.hyperplanes = self.add_weight(
            'hyperplanes',
            (input_shape[0][-1], self.bits),
            trainable=False,
            initializer=lambda shape, dtype=None, **_: tf.random.stateless_normal(
                shape, [self.seed, 0], dtype=dtype
            ),
        )
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        target, behaviors = (
            tf.tensordot(vectors, self.hyperplanes, 1) > 0 for vectors in inputs
        )
        return tf.reduce_sum(tf.cast(target[:, None, :] == behaviors, tf.int32), axis=2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'bits': self.bits, 'seed': self.seed}

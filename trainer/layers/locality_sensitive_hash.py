"""Similarity by locality-sensitive hashing, for ETA's retrieval."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class LocalitySensitiveHash(keras.layers.Layer):
    """How many bits of their hashes the target and each behavior have in common.

    ETA (Chen et al. 2021) after SimHash (Charikar 2002): bit i of a vector e is the side of a
    random hyperplane on which it lies, [e R]_i > 0, so that the share of equal bits of two
    vectors falls with the angle between them. R is drawn once, by seed, and never trained.

    Args:
        bits: of a hash.
        seed: of the hyperplanes.

    Shapes: target [batch, dim], behaviors [batch, length, dim] to int32 [batch, length].
    """

    def __init__(self, bits: int = 32, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.bits, self.seed = bits, seed

    def build(self, input_shape: tuple[tf.TensorShape, tf.TensorShape]) -> None:
        self.hyperplanes = self.add_weight(
            'hyperplanes', (input_shape[0][-1], self.bits), trainable=False,
            initializer=lambda shape, dtype=None, **_: tf.random.stateless_normal(
                shape, [self.seed, 0], dtype=dtype))
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Equal bits of the target and the behaviors, `inputs`, 0 to `bits`."""
        target, behaviors = (tf.tensordot(each, self.hyperplanes, 1) > 0 for each in inputs)
        return tf.reduce_sum(tf.cast(target[:, None, :] == behaviors, tf.int32), axis=2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'bits': self.bits, 'seed': self.seed}

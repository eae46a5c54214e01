"""Layer normalization, computed without a fused kernel."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class UnfusedLayerNormalization(keras.layers.LayerNormalization):
    """Keras's layer normalization, callable like the other normalizations here.

    Keras computes it with the fused kernel of batch normalization. On CPUs, that kernel of
    TensorFlow 2.16 writes outside its memory when it normalizes two batches at once, as
    `DomainModels` does, so this layer does without.

    Example:

    >>> layer = UnfusedLayerNormalization(epsilon=0.0)
    >>> layer(tf.constant([[1.0, 3.0]])).numpy().tolist()
    [[-1.0, 1.0]]

    Shapes: inputs [batch, units] to the same. The domain is ignored.
    """

    def _fused_can_be_used(self, ndims: int) -> bool:
        return False

    def call(self, inputs: tf.Tensor, domain: Any = None, training: bool = False) -> tf.Tensor:
        return super().call(inputs)

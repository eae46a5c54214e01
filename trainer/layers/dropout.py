"""Dropout whose random state is a variable, so that a resumed training repeats it."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


@keras.utils.register_keras_serializable('mdctr')
class RandomSeeds(keras.layers.Layer):
    """A stream of seeds for stateless random operations, saved and restored with the model.

    Args:
        seed: names the stream; two layers with the same seed draw the same numbers.
    """

    def __init__(self, seed: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed
        self.draws = self.add_weight('draws', (), dtype=tf.int32, initializer='zeros',
                                     trainable=False)

    def call(self, inputs: Any = None) -> tf.Tensor:
        """The next seed, int32 [2]."""
        return tf.stack([self.seed, self.draws.assign_add(1)])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'seed': self.seed}


@keras.utils.register_keras_serializable('mdctr')
class Dropout(keras.layers.Layer):
    """Zeroes a share `rate` of its inputs in training and scales the others by 1 / (1 - rate).

    Args:
        rate: the share, in [0, 1).
        seed: names the random stream.
    """

    def __init__(self, rate: float, seed: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = rate
        self.seeds = RandomSeeds(seed) if rate else None

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or not self.rate:
            return inputs
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed=self.seeds(None))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'rate': self.rate,
                'seed': self.seeds.seed if self.seeds else 0}

"""Dropout that a resumed training run repeats."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.earlier_names import registered_earlier_as


@keras.utils.register_keras_serializable('mdctr')
class RandomSeeds(keras.layers.Layer):
    """Sequence of seeds for stateless random operations, saved and restored with the model.

    Example:

    >>> seeds = RandomSeeds(7)
    >>> seeds(None).numpy().tolist(), seeds(None).numpy().tolist()
    ([7, 1], [7, 2])

    Args:
        seed: Random seed of the sequence; layers with the same seed draw the same numbers.

    Output shape: int32 [2], the next seed.
    """

    def __init__(self, seed: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed
        self.draws = self.add_weight(
            'draws', (), dtype=tf.int32, initializer='zeros', trainable=False
        )

    def call(self, inputs: Any = None) -> tf.Tensor:
        return tf.stack([self.seed, self.draws.assign_add(1)])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'seed': self.seed}


@registered_earlier_as('Dropout')
@keras.utils.register_keras_serializable('mdctr')
class ResumableDropout(keras.layers.Layer):
    """Dropout whose random state is a variable.

    In training, sets a fraction `rate` of the inputs to zero and multiplies the others by
    1 / (1 - rate). Unlike with Keras's layer, a run resumed from a checkpoint drops the same
    units as one that was never interrupted.

    Example:

    >>> dropout = ResumableDropout(0.5, seed=1)
    >>> dropout(tf.ones([1, 3])).numpy().tolist()
    [[1.0, 1.0, 1.0]]
    >>> sorted(set(dropout(tf.ones([8, 8]), training=True).numpy().ravel().tolist()))
    [0.0, 2.0]

    Args:
        rate: Fraction of the inputs to drop, in [0, 1).
        seed: Random seed.

    Shapes: Any to the same.
    """

    def __init__(self, rate: float, seed: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = rate
        self.seeds = RandomSeeds(seed) if rate else None

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.seeds is None:
            return inputs
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed=self.seeds(None))

    def get_config(self) -> dict[str, Any]:
        seed = 0 if self.seeds is None else self.seeds.seed
        return {**super().get_config(), 'rate': self.rate, 'seed': seed}

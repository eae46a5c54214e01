"""Stacks of fully-connected layers, shared by all domains or separate for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.basic.dropout import ResumableDropout
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.domain.domain_layer import DomainLayer


@keras.utils.register_keras_serializable('mdctr')
class Tower(keras.layers.Layer):
    """ReLU layers, each followed by dropout, shared by all domains.

    Example:

    >>> Tower([16, 8], dropout=0.1)(tf.ones([2, 4])).shape
    TensorShape([2, 8])

    Args:
        hidden_units: Widths of the layers.
        dropout: ResumableDropout rate after every layer.
        seed: Random seed of the first layer's dropout; each further layer's is one more.

    Shapes: inputs [batch, c] to [batch, hidden_units[-1]].
    """

    def __init__(
        self, hidden_units: Sequence[int], dropout: float = 0.0, seed: int = 10, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.hidden_units, self.dropout, self.seed = list(hidden_units), dropout, seed
        self.hidden = [
            keras.layers.Dense(units, activation='relu', name=f'hidden_{i}')
            for i, units in enumerate(hidden_units)
        ]
        self.dropouts = make_dropouts(len(self.hidden), dropout, seed)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        outputs = inputs
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            outputs = dropout(layer(outputs), training=training)
        return outputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'hidden_units': self.hidden_units,
            'dropout': self.dropout,
            'seed': self.seed,
        }


@keras.utils.register_keras_serializable('mdctr')
class DomainTower(DomainLayer):
    """ReLU layers, each followed by dropout, separate for each domain.

    Example:

    >>> tower = DomainTower([16, 8], num_domains=3)
    >>> tower(tf.ones([2, 4]), tf.constant([1, 2])).shape
    TensorShape([2, 8])

    Args:
        hidden_units: Widths of the layers.
        num_domains: Number of domains, including row 0 for unseen ones.
        dropout: ResumableDropout rate after every layer.
        seed: Random seed of the first layer's dropout; each further layer's is one more.

    Shapes: inputs [batch, c] to [batch, hidden_units[-1]].
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        num_domains: int,
        dropout: float = 0.0,
        seed: int = 30,
        **kwargs: Any,
    ):
        super().__init__(num_domains, **kwargs)
        self.hidden_units, self.dropout, self.seed = list(hidden_units), dropout, seed
        self.hidden = [
            DomainDense(units, num_domains, activation='relu', name=f'hidden_{i}')
            for i, units in enumerate(hidden_units)
        ]
        self.dropouts = make_dropouts(len(self.hidden), dropout, seed)

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        outputs = inputs
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            outputs = dropout(layer(outputs, domains, training=training), training=training)
        return outputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'hidden_units': self.hidden_units,
            'dropout': self.dropout,
            'seed': self.seed,
        }


def make_dropouts(count: int, rate: float, seed: int) -> list[ResumableDropout]:
    """Makes the dropout layers of a stack of layers.

    >>> [dropout.rate for dropout in make_dropouts(2, 0.1, seed=10)]
    [0.1, 0.1]

    Args:
        count: Number of layers.
        rate: ResumableDropout rate.
        seed: Random seed of the first layer's dropout; each further layer's is one more.
    """
    return [ResumableDropout(rate, seed=seed + i) for i in range(count)]

"""Stacks of fully-connected layers, one for all domains or one a domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_dense import DomainDense
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.domain_rows import DomainRows
from trainer.layers.dropout import Dropout


@keras.utils.register_keras_serializable('mdctr')
class Tower(keras.layers.Layer):
    """ReLU layers, each followed by dropout, the same for every domain.

    Args:
        hidden_units: the widths of the layers.
        dropout: after every layer.
        seed: of the first layer's dropout; each further layer's is one more.

    Shapes: inputs [batch, c] to [batch, hidden_units[-1]].
    """

    def __init__(self, hidden_units: Sequence[int], dropout: float = 0.0, seed: int = 10,
                 **kwargs: Any):
        super().__init__(**kwargs)
        self.hidden_units, self.dropout, self.seed = list(hidden_units), dropout, seed
        self.hidden = [keras.layers.Dense(units, activation='relu', name=f'hidden_{i}')
                       for i, units in enumerate(hidden_units)]
        self.dropouts = _dropouts(self)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        outputs = inputs
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            outputs = dropout(layer(outputs), training=training)
        return outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'hidden_units': self.hidden_units,
                'dropout': self.dropout, 'seed': self.seed}


@keras.utils.register_keras_serializable('mdctr')
class DomainTower(DomainLayer):
    """What `Tower` is, with layers of its own for every domain.

    Args:
        hidden_units: the widths of the layers.
        num_domains: the domains, and in row 0 the unseen ones.
        dropout: after every layer.
        seed: of the first layer's dropout; each further layer's is one more.

    Shapes: inputs [batch, c] to [batch, hidden_units[-1]].
    """

    def __init__(self, hidden_units: Sequence[int], num_domains: int, dropout: float = 0.0,
                 seed: int = 30, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.hidden_units, self.dropout, self.seed = list(hidden_units), dropout, seed
        self.hidden = [DomainDense(units, num_domains, activation='relu', name=f'hidden_{i}')
                       for i, units in enumerate(hidden_units)]
        self.dropouts = _dropouts(self)

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        outputs = inputs
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            outputs = dropout(layer(outputs, rows, training=training), training=training)
        return outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'hidden_units': self.hidden_units,
                'dropout': self.dropout, 'seed': self.seed}


def _dropouts(tower: Tower | DomainTower) -> list[Dropout]:
    return [Dropout(tower.dropout, seed=tower.seed + i)
            for i in range(len(tower.hidden_units))]

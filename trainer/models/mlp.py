"""The plain multi-layer perceptron, STAR's Base: one network for all domains."""

from __future__ import annotations

from trainer.keras import keras
from trainer.layers.dropout import Dropout
from trainer.models.mlp_network import MLPNetwork


class MLP(MLPNetwork):
    """Embeddings, normalization, fully-connected layers and a logit (STAR 4.1, Base)."""

    def build_network(self) -> None:
        self.hidden = [keras.layers.Dense(units, activation='relu', name=f'hidden_{i}')
                       for i, units in enumerate(self.config.hidden_units)]
        self.dropouts = [Dropout(self.config.dropout, seed=10 + i)
                         for i in range(len(self.hidden))]
        self.head = keras.layers.Dense(1, name='head')

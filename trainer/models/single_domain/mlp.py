"""The multi-layer perceptron, STAR's Base."""

from __future__ import annotations

from trainer.keras import keras
from trainer.layers.basic.tower import make_dropouts
from trainer.models.mlp_network import MLPNetwork


class MLP(MLPNetwork):
    """Embeddings, normalization, fully-connected layers and a logit, shared by all domains.

    STAR 4.1, Base.
    """

    def build_network(self) -> None:
        self.hidden = [
            keras.layers.Dense(units, activation='relu', name=f'hidden_{i}')
            for i, units in enumerate(self.config.hidden_units)
        ]
        self.dropouts = make_dropouts(len(self.hidden), self.config.dropout, seed=10)
        self.head = keras.layers.Dense(1, name='head')

"""The plain multi-layer perceptron, STAR's Base: one network for all domains."""

from __future__ import annotations

from trainer.keras import keras, tf
from trainer.layers.dropout import Dropout
from trainer.models.base import CTRModel, Inputs


class MLP(CTRModel):
    """Embeddings, normalization, fully-connected layers and a logit (STAR 4.1, Base)."""

    def build_network(self) -> None:
        self.hidden = [keras.layers.Dense(units, activation='relu', name=f'hidden_{i}')
                       for i, units in enumerate(self.config.hidden_units)]
        self.dropouts = [Dropout(self.config.dropout, seed=10 + i)
                         for i in range(len(self.hidden))]
        self.head = keras.layers.Dense(1, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        outputs = inputs.flat
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            outputs = dropout(layer(outputs), training=training)
        return tf.squeeze(self.head(outputs), axis=1)

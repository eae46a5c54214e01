"""The neural factorization machine."""

from __future__ import annotations

from trainer.keras import keras, tf
from trainer.layers.bi_interaction import bi_interaction
from trainer.layers.tower import Tower
from trainer.models.base import CTRModel, Inputs
from trainer.models.linear import linear_term


class NeurFM(CTRModel):
    """A network over the bi-interaction pooling of the embeddings (He and Chua 2017, equations
    2 to 7): w_0 + <w, x> + h^T MLP(f_BI).

    What is normalized is the pooling's output, as in the paper (3.3), so the network's input
    is one vector [embedding_dim] however many features there are.
    """

    def build_network(self) -> None:
        self.linear = linear_term(self)
        self.tower = Tower(self.config.hidden_units, self.config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return bi_interaction(inputs.fields)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        first = self.linear(inputs.ids, inputs.rows, training=training)
        deep = self.head(self.tower(inputs.flat, training=training))
        return first + tf.squeeze(deep, axis=1)

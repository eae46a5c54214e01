"""The neural factorization machine."""

from __future__ import annotations

from trainer.keras import keras, tf
from trainer.layers.basic.tower import Tower
from trainer.layers.interaction.bi_interaction import bi_interaction
from trainer.models.base import CTRModel, Inputs
from trainer.models.linear_part import make_linear_term


class NeurFM(CTRModel):
    """Network over the bi-interaction pooling of the embeddings (He and Chua 2017, equations 2
    to 7): w_0 + <w, x> + h^T MLP(f_BI).

    As in the paper (3.3), the output of the pooling is normalized, so the network's input is
    one vector [embedding_dim] whatever the number of features. The paper also applies dropout
    to it; here, dropout follows only the hidden layers.
    """

    def build_network(self) -> None:
        self.linear = make_linear_term(self)
        self.tower = Tower(self.config.hidden_units, self.config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return bi_interaction(inputs.fields)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        first = self.linear(inputs.ids, inputs.domains, training=training)
        deep = self.head(self.tower(inputs.flat, training=training))
        return first + tf.squeeze(deep, axis=1)

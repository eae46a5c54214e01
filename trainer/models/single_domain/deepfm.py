"""DeepFM: a factorization machine and a network."""

from __future__ import annotations

from trainer.keras import keras, tf
from trainer.layers.basic.tower import Tower
from trainer.layers.interaction.bi_interaction import factorization_machine
from trainer.models.base import CTRModel, Inputs
from trainer.models.linear_part import make_linear_term


class DeepFM(CTRModel):
    """Factorization machine and network over the same embeddings (Guo et al. 2017, equations 1
    to 4): y_FM + y_DNN, with y_FM = <w, x> + sum_{i < j} <v_i, v_j>.

    The factorization machine reads the embeddings themselves, the network the normalized ones.
    """

    def build_network(self) -> None:
        self.linear = make_linear_term(self)
        self.tower = Tower(self.config.hidden_units, self.config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        first = self.linear(inputs.ids, inputs.domains, training=training)
        second = factorization_machine(inputs.fields)
        deep = self.head(self.tower(inputs.flat, training=training))
        return first + second + tf.squeeze(deep, axis=1)

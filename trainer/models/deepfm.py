"""DeepFM."""

from __future__ import annotations

from trainer.keras import keras, tf
from trainer.layers.bi_interaction import factorization_machine
from trainer.layers.tower import Tower
from trainer.models.base import CTRModel, Inputs
from trainer.models.linear import linear_term


class DeepFM(CTRModel):
    """A factorization machine and a network over the same embeddings (Guo et al. 2017,
    equations 1 to 4): y_FM + y_DNN, with y_FM = <w, x> + sum_{i < j} <v_i, v_j>.

    The factorization machine has the embeddings as they are, the network normalized ones.
    """

    def build_network(self) -> None:
        self.linear = linear_term(self)
        self.tower = Tower(self.config.hidden_units, self.config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        first = self.linear(inputs.ids, inputs.rows, training=training)
        second = factorization_machine(inputs.fields)
        deep = self.head(self.tower(inputs.flat, training=training))
        return first + second + tf.squeeze(deep, axis=1)

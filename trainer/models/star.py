"""The Star Topology Adaptive Recommender."""

from __future__ import annotations

from trainer.keras import tf
from trainer.layers.dropout import Dropout
from trainer.layers.partitioned_normalization import PartitionedNormalization
from trainer.layers.star_dense import StarDense
from trainer.models.base import CTRModel, Inputs


class STAR(CTRModel):
    """Partitioned normalization (STAR 3.3), the star topology network with its output layer
    in the star too (3.4), and the auxiliary network (3.5)."""

    NORMALIZATION = 'pn'
    AUXILIARY = True

    def build_network(self) -> None:
        self.hidden = [StarDense(units, self.num_domains, activation='relu',
                                 name=f'hidden_{i}')
                       for i, units in enumerate(self.config.hidden_units)]
        self.dropouts = [Dropout(self.config.dropout, seed=10 + i)
                         for i in range(len(self.hidden))]
        self.head = StarDense(1, self.num_domains, name='head')

    def fold(self) -> None:
        super().fold()
        if isinstance(self.normalization, PartitionedNormalization):
            self.normalization.fold_into(self.hidden[0].folded)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        outputs = inputs.flat
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            outputs = dropout(layer(outputs, inputs.rows, training=training),
                              training=training)
        return tf.squeeze(self.head(outputs, inputs.rows, training=training), axis=1)

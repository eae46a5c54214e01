"""The Star Topology Adaptive Recommender."""

from __future__ import annotations

from trainer.keras import tf
from trainer.layers.domain_rows import DomainRows
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

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        if not training or not self._first_layers_at_once(features):
            return super().call(features, training)
        inputs = self.look_up(features, training, normalized=False)
        first, rows = self.hidden[0], inputs.rows
        outputs, beside = self.normalization.train_with_dense(
            inputs.flat, rows, first.of_domain(rows), self.auxiliary.first_layer(rows))
        outputs = self.dropouts[0](first.activation(outputs), training=training)
        logit = self._logit(outputs, rows, training, 1)
        return self.from_base(
            rows, logit + tf.squeeze(self.auxiliary.second_layer(beside), axis=1))

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return self._logit(inputs.flat, inputs.rows, training, 0)

    def _logit(self, outputs: tf.Tensor, rows: DomainRows, training: bool,
               below: int) -> tf.Tensor:
        """The main network's logit of the outputs of so many hidden layers."""
        for layer, dropout in zip(self.hidden[below:], self.dropouts[below:], strict=True):
            outputs = dropout(layer(outputs, rows, training=training), training=training)
        return tf.squeeze(self.head(outputs, rows, training=training), axis=1)

    def _first_layers_at_once(self, features: dict[str, tf.Tensor]) -> bool:
        """Whether normalization and the first layers at it can be one computation, which is
        faster: in STAR's own setting, batches of one domain."""
        return (bool(self.hidden) and self.auxiliary is not None
                and isinstance(self.normalization, PartitionedNormalization)
                and tf.convert_to_tensor(features['domain']).shape.rank == 0
                and self.compute_dtype == 'float32')

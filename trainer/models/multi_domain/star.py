"""The Star Topology Adaptive Recommender."""

from __future__ import annotations

from trainer.keras import tf
from trainer.layers.basic.tower import make_dropouts
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.normalized_dense import normalized_dense
from trainer.layers.domain.partitioned_normalization import PartitionedNormalization
from trainer.layers.domain.star_dense import StarDense
from trainer.models.base import CTRModel, Inputs


class STAR(CTRModel):
    """Partitioned normalization (STAR 3.3), the star topology network including its output
    layer (3.4), and the auxiliary network (3.5)."""

    NORMALIZATION = 'pn'
    AUXILIARY = True

    def build_network(self) -> None:
        config = self.config
        self.hidden = [
            StarDense(units, self.num_domains, activation='relu', name=f'hidden_{i}')
            for i, units in enumerate(config.hidden_units)
        ]
        self.dropouts = make_dropouts(len(self.hidden), config.dropout, seed=10)
        self.head = StarDense(1, self.num_domains, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        outputs, domains = inputs.flat, inputs.domains
        for level, (layer, dropout) in enumerate(zip(self.hidden, self.dropouts, strict=True)):
            if level == 0 and self.fuses_normalization(inputs.domains, training):
                outputs = normalized_dense(outputs, self.normalization, layer, domains)
            else:
                outputs = layer(outputs, domains, training=training)
            outputs = dropout(outputs, training=training)
        return tf.squeeze(self.head(outputs, domains, training=training), axis=1)

    def fuses_normalization(self, domains: DomainBatch, training: bool) -> bool:
        return (
            training
            and domains.single_domain
            and bool(self.hidden)
            and isinstance(self.normalization, PartitionedNormalization)
            and self.compute_dtype == 'float32'
        )

    def fold(self) -> None:
        super().fold()
        if isinstance(self.normalization, PartitionedNormalization):
            self.normalization.fold_into(self.hidden[0].folded)

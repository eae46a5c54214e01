"""MLP++: domains that share only the users."""

from __future__ import annotations

from mdctr.manifest import Feature
from trainer.keras import tf
from trainer.layers.basic.tower import DomainTower
from trainer.layers.domain.domain_dense import DomainDense
from trainer.models.base import Inputs
from trainer.models.transfer.cross_domain import PartEmbeddingsModel


class MLPPlusPlus(PartEmbeddingsModel):
    """MLP per domain over shared embeddings of the user's features (Hu et al. 2018, CoNet's
    baseline MLP++; CTNet 4.4).

    Everything else is separate for each domain: the embeddings of items, of context and of past
    clicks (which are items), and all layers. An unseen domain has the mean of the domains'
    networks.
    """

    def part_features(self) -> list[Feature]:
        users = self.user_features()
        return [feature for feature in self.features if feature not in users]

    def build_network(self) -> None:
        config = self.config
        self.tower = DomainTower(
            config.hidden_units, self.num_parts, config.dropout, name='tower'
        )
        self.head = DomainDense(1, self.num_parts, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        parts = self.batch_parts(inputs.domains)
        outputs = self.tower(inputs.flat, parts, training=training)
        return tf.squeeze(self.head(outputs, parts, training=training), axis=1)

"""MLP++: domains that share nothing but the users."""

from __future__ import annotations

from beam_jobs.dataset import Feature
from trainer.keras import tf
from trainer.layers.domain_dense import DomainDense
from trainer.layers.tower import DomainTower
from trainer.models.base import Inputs
from trainer.models.cross_domain import OwnEmbeddings


class MLPPlusPlus(OwnEmbeddings):
    """An MLP a domain, all of which see the same embeddings of the user's features (Hu et al.
    2018, CoNet's baseline MLP++; CTNet 4.4).

    Everything else is a domain's own: the embeddings of items, of context and of past clicks
    (which are items), and all layers. An unseen domain gets the mean of the domains' networks.
    """

    def own_features(self) -> list[Feature]:
        users = self.user_features()
        return [feature for feature in self.features if feature not in users]

    def build_network(self) -> None:
        config = self.config
        self.tower = DomainTower(config.hidden_units, self.num_parts, config.dropout,
                                 name='tower')
        self.head = DomainDense(1, self.num_parts, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        parts = self.rows_of_parts(inputs.rows)
        outputs = self.tower(inputs.flat, parts, training=training)
        return tf.squeeze(self.head(outputs, parts, training=training), axis=1)

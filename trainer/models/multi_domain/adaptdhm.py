"""AdaptDHM: adaptive distribution hierarchical model."""

from __future__ import annotations

from pydantic import Field

from trainer.keras import tf
from trainer.layers.basic.tower import make_dropouts
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.experts.cluster_dense import ClusterDense
from trainer.layers.experts.cluster_router import ClusterRouter
from trainer.models.base import CTRModel, Inputs


class AdaptDHM(CTRModel):
    """Network whose weights depend on the cluster of a row, which a router finds (Li et al.
    2022; the details as in Scenario-Wise-Rec).

    A row's input x, of which the domain is a feature, is assigned to a cluster
    (`ClusterRouter`), and every layer including the output is the shared one times that of the
    cluster (`ClusterDense`). Domains that resemble each other so share a cluster, and a domain
    may have rows in several. No variable but the domains' embeddings grows with the domains.
    Rows of an unseen domain, whose embedding is zero, are assigned by their other features.

    The centers follow the normalized input. Before normalization, its entries are so small at
    first that every row would pull at all centers alike.
    """

    class Options(CTRModel.Options):
        """Options of AdaptDHM."""

        domain_feature: bool = Field(
            default=True,
            description='Whether the domain is a feature with an embedding, by which rows are '
            'assigned, too.',
        )
        clusters: int = Field(default=3, ge=1, description='Number of clusters.')
        momentum: float = Field(
            default=0.9,
            ge=0,
            lt=1,
            description="Weight of a center's previous value when it follows a batch.",
        )
        routing_iterations: int = Field(
            default=3, ge=1, description='Number of updates of the centers per batch.'
        )

    options: Options

    def build_network(self) -> None:
        config, options = self.config, self.options
        self.router = ClusterRouter(
            options.clusters, options.momentum, options.routing_iterations, name='router'
        )
        self.hidden = [
            ClusterDense(units, options.clusters, activation='relu', name=f'hidden_{i}')
            for i, units in enumerate(config.hidden_units)
        ]
        self.dropouts = make_dropouts(len(self.hidden), config.dropout, seed=10)
        self.head = ClusterDense(1, options.clusters, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        cluster = self.router(inputs.flat, training=training)
        clusters = DomainBatch(cluster, self.options.clusters)
        outputs = clusters.sort(inputs.flat)
        for layer, dropout in zip(self.hidden, self.dropouts, strict=True):
            outputs = dropout(layer(outputs, clusters), training=training)
        return tf.squeeze(clusters.unsort(self.head(outputs, clusters)), axis=1)

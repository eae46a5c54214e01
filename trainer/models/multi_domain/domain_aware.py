"""The embedding of the domain-aware features, from which AdaSparse and APG generate."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field, Strict

from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.models.backbone import Backbone
from trainer.models.base import Inputs
from trainer.models.named_fields import named_fields


class DomainAware(NamedTuple):
    """Domain-aware embedding e_d of a batch.

    Attributes:
        vectors: e_d, [present, dim], one for each present domain, or [batch, dim] if `domains`
            is None.
        domains: Domains of the rows, if e_d depends only on the domain.
    """

    vectors: tf.Tensor
    domains: DomainBatch | None


class DomainAwareBackbone(Backbone):
    """Backbone with domain-aware features x^d (AdaSparse 2).

    Its input has their embedding e_d and that of all other features: h^1 = [e_d, e_a].
    """

    class Options(Backbone.Options):
        """Options of an architecture with domain-aware features."""

        domain_feature: bool = Field(
            default=True,
            description='Whether the domain is a feature with an embedding, as in the paper.',
        )
        domain_aware: Annotated[tuple[str, ...], Strict(False)] = Field(
            default=('domain',),
            description='Domain-aware features: `domain`, other features, or both.',
        )

    options: Options

    def build_network(self) -> None:
        self.domain_aware_positions = named_fields(
            self,
            'domain_aware',
            self.options.domain_aware,
            hint='name domain, or the features that distinguish domains',
        )
        super().build_network()

    def domain_aware(self, inputs: Inputs) -> DomainAware:
        """Returns e_d without normalization, which would remove it in a batch of one domain."""
        names = self.options.domain_aware
        if self.domain_field is not None and list(names) == ['domain']:
            vectors = inputs.domains.gather(self.domain_field.domain_table)
            return DomainAware(vectors, inputs.domains)
        places = self.domain_aware_positions
        vectors = tf.gather(inputs.fields, places, axis=1)
        return DomainAware(
            tf.reshape(vectors, [-1, len(places) * self.config.embedding_dim]), None
        )

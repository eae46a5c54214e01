"""What AdaSparse and APG generate from: the embedding of the domain-aware features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from beam_jobs.errors import UserError
from trainer.keras import tf
from trainer.layers.domain_rows import DomainRows
from trainer.models.backbone import Backbone
from trainer.models.base import Inputs


class DomainAware(NamedTuple):
    """e_d of a batch.

    Attributes:
        vectors: [present, dim], one a domain of `rows`; or without those [batch, dim].
        rows: the rows' domains, where e_d depends on the domain alone; else None.
    """

    vectors: tf.Tensor
    rows: DomainRows | None


class DomainAwareBackbone(Backbone):
    """A backbone with domain-aware features x^d (AdaSparse 2), of which the model's input
    holds the embedding e_d beside that of all other features: h^1 = [e_d, e_a]."""

    @dataclass(frozen=True)
    class Options(Backbone.Options):
        """
        Attributes:
            domain_feature: the domain is a feature of the input, as in the paper.
            domain_aware: the domain-aware features: `domain`, other features, or both.
        """

        domain_feature: bool = True
        domain_aware: tuple[str, ...] = ('domain',)

    def build_network(self) -> None:
        names = self.options.domain_aware
        for name in names:
            if name not in self.fields:
                hint = (' (with domain_feature: true)' if name == 'domain' else '')
                raise UserError(f'model.options.domain_aware of {self.config.name} names '
                                f'{name}, which is no feature of the model{hint}; it has '
                                f'{", ".join(self.fields)}.')
        if not names:
            raise UserError(f'model.options.domain_aware of {self.config.name} is empty: name '
                            'domain, or the features that tell domains apart.')
        super().build_network()

    def domain_aware(self, inputs: Inputs) -> DomainAware:
        """e_d as it was looked up: in a batch of one domain, normalization would remove it."""
        names = self.options.domain_aware
        if list(names) == ['domain']:
            return DomainAware(inputs.rows.take(self.domain_field.domain_table), inputs.rows)
        places = [self.fields.index(name) for name in names]
        vectors = tf.gather(inputs.fields, places, axis=1)
        return DomainAware(tf.reshape(vectors, [-1, len(places) * self.config.embedding_dim]),
                           None)

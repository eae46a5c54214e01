"""Shared bottom: shared layers, and a tower for each domain."""

from __future__ import annotations

from pydantic import Field

from trainer.keras import tf
from trainer.layers.basic.tower import DomainTower, Tower
from trainer.layers.domain.domain_dense import DomainDense
from trainer.models.base import CTRModel, Inputs
from trainer.models.hidden_units import split_hidden_units


class SharedBottom(CTRModel):
    """Shared layers at the bottom and a tower for each domain (Caruana 1997).

    In STAR (4.1) only the embeddings are shared, and each domain has all of `hidden_units`,
    which is the default. MAMDR (V-C) has `hidden_units: [512, 256, 128, 64]` and
    `shared_layers: 3`. An unseen domain has the mean of the domains' towers.
    """

    class Options(CTRModel.Options):
        """Options of shared bottom."""

        shared_layers: int = Field(
            default=0,
            ge=0,
            description='Number of hidden layers, from the bottom, that all domains share.',
        )

    options: Options

    def build_network(self) -> None:
        shared_units, tower_units = split_hidden_units(
            self.config, self.options.shared_layers, 'shared_layers'
        )
        self.bottom = Tower(shared_units, self.config.dropout, name='bottom')
        self.tower = DomainTower(
            tower_units, self.num_domains, self.config.dropout, name='tower'
        )
        self.head = DomainDense(1, self.num_domains, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        outputs = self.bottom(inputs.flat, training=training)
        outputs = self.tower(outputs, inputs.domains, training=training)
        return tf.squeeze(self.head(outputs, inputs.domains, training=training), axis=1)

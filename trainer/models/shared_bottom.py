"""A network a domain over what they share."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.keras import tf
from trainer.layers.domain_dense import DomainDense
from trainer.layers.tower import DomainTower, Tower
from trainer.models.base import CTRModel, Inputs
from trainer.models.split import split_hidden_units


class SharedBottom(CTRModel):
    """Shared layers at the bottom and a tower of its own for every domain (Caruana 1997).

    In STAR (4.1) the embeddings alone are shared, and each domain has all of `hidden_units`;
    this is the default. MAMDR (V-C) has `hidden_units: [512, 256, 128, 64]` and
    `shared_layers: 3`. An unseen domain gets the mean of the domains' towers.
    """

    @dataclass(frozen=True)
    class Options(CTRModel.Options):
        """
        Attributes:
            shared_layers: how many of the hidden layers, from the bottom, are shared.
        """

        shared_layers: int = setting(0, minimum=0)

    def build_network(self) -> None:
        shared, own = split_hidden_units(self.config, self.options.shared_layers,
                                         'shared_layers')
        self.bottom = Tower(shared, self.config.dropout, name='bottom')
        self.tower = DomainTower(own, self.num_domains, self.config.dropout, name='tower')
        self.head = DomainDense(1, self.num_domains, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        outputs = self.bottom(inputs.flat, training=training)
        outputs = self.tower(outputs, inputs.rows, training=training)
        return tf.squeeze(self.head(outputs, inputs.rows, training=training), axis=1)

"""MMoE: multi-gate mixture of experts."""

from __future__ import annotations

from pydantic import Field

from trainer.config import Units
from trainer.keras import tf
from trainer.layers.basic.tower import DomainTower, make_dropouts
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.experts.mixture_of_experts import DomainGate, ExpertDense, mix_experts
from trainer.models.base import CTRModel, Inputs
from trainer.models.hidden_units import split_hidden_units


class MMoE(CTRModel):
    """Experts that all domains share, weighted by a gate of the row's domain (Ma et al. 2018,
    equations 6 and 7): y^p = h^p(sum_i g^p(x)_i f_i(x)), with the domain's own layers h^p.

    In STAR (4.1) each expert has all of `hidden_units`, there are as many experts as domains
    (`experts: 0`), and h^p is only the logit. MAMDR (V-C) has `hidden_units:
    [512, 256, 128, 64]`, `tower_layers: 1`, `gate_units: [64]` and `experts: 2`. Every expert
    is computed for every row, so the default is a few experts whatever the number of domains.
    An unseen domain has the mean of the domains' gates and towers.
    """

    class Options(CTRModel.Options):
        """Options of MMoE."""

        experts: int = Field(
            default=4,
            ge=0,
            description='Number of experts; 0 for as many as there are domains.',
        )
        tower_layers: int = Field(
            default=0,
            ge=0,
            description='Number of hidden layers, from the top, in the tower of each domain; '
            'the others are in the experts.',
        )
        gate_units: list[Units] = Field(
            default=[], description='Widths of ReLU layers in the gates; none in the paper.'
        )

    options: Options

    def build_network(self) -> None:
        config, options = self.config, self.options
        expert_units, tower_units = split_hidden_units(
            config, len(config.hidden_units) - options.tower_layers, 'tower_layers', least=1
        )
        count = options.experts or max(self.num_domains - 1, 1)
        self.experts = [
            ExpertDense(units, count, name=f'experts_{i}')
            for i, units in enumerate(expert_units)
        ]
        self.dropouts = make_dropouts(len(expert_units), config.dropout, seed=10)
        self.gate = DomainGate(count, self.num_domains, options.gate_units, name='gate')
        self.tower = DomainTower(tower_units, self.num_domains, config.dropout, name='tower')
        self.head = DomainDense(1, self.num_domains, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        experts = inputs.flat
        for layer, dropout in zip(self.experts, self.dropouts, strict=True):
            experts = dropout(layer(experts), training=training)
        mixed = mix_experts(self.gate(inputs.flat, inputs.domains, training=training), experts)
        outputs = self.tower(mixed, inputs.domains, training=training)
        return tf.squeeze(self.head(outputs, inputs.domains, training=training), axis=1)

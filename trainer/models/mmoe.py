"""Multi-gate mixture of experts."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.keras import tf
from trainer.layers.domain_dense import DomainDense
from trainer.layers.dropout import Dropout
from trainer.layers.mixture_of_experts import DomainGate, ExpertDense, mix
from trainer.layers.tower import DomainTower
from trainer.models.base import CTRModel, Inputs
from trainer.models.split import split_hidden_units


class MMoE(CTRModel):
    """Experts that all domains share, weighted by a gate of the row's domain (Ma et al. 2018,
    equations 6 and 7): y^p = h^p(sum_i g^p(x)_i f_i(x)), with h^p the domain's own layers.

    In STAR (4.1) each expert has all of `hidden_units`, there are as many experts as domains
    (`experts: 0`), and h^p is the logit alone. MAMDR (V-C) has `hidden_units:
    [512, 256, 128, 64]`, `tower_layers: 1`, `gate_units: [64]` and `experts: 2`. Every expert
    is computed for every row, so the default is a few experts, whatever the number of domains.
    An unseen domain gets the mean of the domains' gates and towers.
    """

    @dataclass(frozen=True)
    class Options(CTRModel.Options):
        """
        Attributes:
            experts: how many; 0 for as many as there are domains.
            tower_layers: how many of the hidden layers, from the top, are the domains' own;
                the others are the experts'.
            gate_units: the widths of ReLU layers in the gates, none in the paper.
        """

        experts: int = setting(4, minimum=0)
        tower_layers: int = setting(0, minimum=0)
        gate_units: list[int] = setting([], minimum=1)

    def build_network(self) -> None:
        config, options = self.config, self.options
        of_experts, of_towers = split_hidden_units(
            config, len(config.hidden_units) - options.tower_layers, 'tower_layers', least=1)
        count = options.experts or max(self.num_domains - 1, 1)
        self.experts = [ExpertDense(units, count, name=f'experts_{i}')
                        for i, units in enumerate(of_experts)]
        self.dropouts = [Dropout(config.dropout, seed=10 + i) for i in range(len(of_experts))]
        self.gate = DomainGate(count, self.num_domains, options.gate_units, name='gate')
        self.tower = DomainTower(of_towers, self.num_domains, config.dropout, name='tower')
        self.head = DomainDense(1, self.num_domains, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        experts = inputs.flat
        for layer, dropout in zip(self.experts, self.dropouts, strict=True):
            experts = dropout(layer(experts), training=training)
        mixed = mix(self.gate(inputs.flat, inputs.rows, training=training), experts)
        outputs = self.tower(mixed, inputs.rows, training=training)
        return tf.squeeze(self.head(outputs, inputs.rows, training=training), axis=1)

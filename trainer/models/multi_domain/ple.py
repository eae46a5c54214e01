"""PLE: progressive layered extraction, and its single level, CGC."""

from __future__ import annotations

from pydantic import Field

from trainer.config import Units
from trainer.keras import tf
from trainer.layers.basic.tower import DomainTower
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.experts.customized_gate_control import CustomizedGateControl
from trainer.models.base import CTRModel, Inputs
from trainer.models.hidden_units import split_hidden_units


class CGC(CTRModel):
    """One level of shared and domain-specific experts, mixed by the domains' gates, and a tower
    for each domain (Tang et al. 2020, equation 4): y^p(x) = t^p(g^p(x)).

    The first of `hidden_units` is the experts' width, the others are the tower's. An unseen
    domain has the mean of the domains' experts, gates and towers.
    """

    class Options(CTRModel.Options):
        """Options of CGC."""

        specific_experts: int = Field(
            default=2, ge=1, description='Number of experts of each domain.'
        )
        shared_experts: int = Field(
            default=2, ge=1, description='Number of experts that all domains share.'
        )
        gate_units: list[Units] = Field(
            default=[], description='Widths of ReLU layers in the gates; none in the paper.'
        )

    options: Options

    def build_network(self) -> None:
        options = self.options
        levels, tower = split_hidden_units(self.config, self.num_levels(), 'levels', least=1)
        self.levels = [
            CustomizedGateControl(
                units,
                self.num_domains,
                options.specific_experts,
                options.shared_experts,
                options.gate_units,
                last=i == len(levels) - 1,
                rate=self.config.dropout,
                seed=10 + i,
                name=f'level_{i}',
            )
            for i, units in enumerate(levels)
        ]
        self.tower = DomainTower(tower, self.num_domains, self.config.dropout, name='tower')
        self.head = DomainDense(1, self.num_domains, name='head')

    def num_levels(self) -> int:
        """Number of levels of experts."""
        return 1

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        domains, own, shared = inputs.domains, inputs.flat, inputs.flat
        for level in self.levels:
            own, shared = level((own, shared), domains, training=training)
        outputs = self.tower(own, domains, training=training)
        return tf.squeeze(self.head(outputs, domains, training=training), axis=1)


class PLE(CGC):
    """Several levels of `CGC` on top of each other (Tang et al. 2020, equations 5 to 7).

    The first `levels` of `hidden_units` are the widths of the levels' experts, the others are
    the tower's. MAMDR (V-C) has `hidden_units: [64, 64, 256]`, `gate_units: [64]`,
    `shared_experts: 2` and `specific_experts: 10`. `CustomizedGateControl` describes the
    differences from the paper.
    """

    class Options(CGC.Options):
        """Options of PLE."""

        levels: int = Field(default=2, ge=1, description='Number of levels of experts.')

    options: Options

    def num_levels(self) -> int:
        return self.options.levels

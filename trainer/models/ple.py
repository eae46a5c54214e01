"""Progressive layered extraction and customized gate control."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.keras import tf
from trainer.layers.customized_gate_control import CustomizedGateControl
from trainer.layers.domain_dense import DomainDense
from trainer.layers.tower import DomainTower
from trainer.models.base import CTRModel, Inputs
from trainer.models.split import split_hidden_units


class CGC(CTRModel):
    """One level of shared and domain-specific experts behind the domains' gates, and a tower
    for every domain (Tang et al. 2020, equation 4): y^p(x) = t^p(g^p(x)).

    The first of `hidden_units` is the experts' width and the others are the tower's. An unseen
    domain gets the mean of the domains' experts, gates and towers.
    """

    @dataclass(frozen=True)
    class Options(CTRModel.Options):
        """
        Attributes:
            specific_experts: of each domain.
            shared_experts: of all domains.
            gate_units: the widths of ReLU layers in the gates, none in the paper.
        """

        specific_experts: int = setting(2, minimum=1)
        shared_experts: int = setting(2, minimum=1)
        gate_units: list[int] = setting([], minimum=1)

    def build_network(self) -> None:
        options = self.options
        levels, tower = split_hidden_units(self.config, self.num_levels(), 'levels', least=1)
        self.levels = [CustomizedGateControl(
            units, self.num_domains, options.specific_experts, options.shared_experts,
            options.gate_units, last=i == len(levels) - 1, rate=self.config.dropout,
            seed=10 + i, name=f'level_{i}')
            for i, units in enumerate(levels)]
        self.tower = DomainTower(tower, self.num_domains, self.config.dropout, name='tower')
        self.head = DomainDense(1, self.num_domains, name='head')

    def num_levels(self) -> int:
        """How many levels of experts there are."""
        return 1

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        rows, own, shared = inputs.rows, inputs.flat, inputs.flat
        for level in self.levels:
            own, shared = level((own, shared), rows, training=training)
        outputs = self.tower(own, rows, training=training)
        return tf.squeeze(self.head(outputs, rows, training=training), axis=1)


class PLE(CGC):
    """Several levels of `CGC`, one above the other (Tang et al. 2020, equations 5 to 7).

    The first `levels` of `hidden_units` are the widths of the levels' experts and the others
    are the tower's. MAMDR (V-C) has `hidden_units: [64, 64, 256]`, `gate_units: [64]`,
    `shared_experts: 2` and `specific_experts: 10`. Where this differs from the paper, and why,
    `CustomizedGateControl` says.
    """

    @dataclass(frozen=True)
    class Options(CGC.Options):
        """
        Attributes:
            levels: of experts, below the towers.
        """

        levels: int = setting(2, minimum=1)

    def num_levels(self) -> int:
        return self.options.levels

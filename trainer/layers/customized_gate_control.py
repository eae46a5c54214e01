"""Customized gate control, a level of progressive layered extraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_dense import DomainDense
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.domain_rows import DomainRows
from trainer.layers.dropout import Dropout
from trainer.layers.mixture_of_experts import DomainGate, ExpertDense, mix


@keras.utils.register_keras_serializable('mdctr')
class CustomizedGateControl(DomainLayer):
    """Experts of a domain's own beside shared ones, chosen from by the domain's gate.

    PLE (Tang et al. 2020), equations 1 to 3 (one level, CGC) and 5 to 6 (level j of PLE, whose
    inputs are the level below's outputs), for a row x of domain p:

        S^p(x) = [E_(p,1)(x), ..., E_(p,m_p)(x), E_(s,1)(x_s), ..., E_(s,m_s)(x_s)]
        g^p(x) = softmax(W_g^p x) S^p(x)

    Below the last level the shared experts have a gate too, g^s(x_s), to pass on. The paper's
    tasks all share their rows, and its shared gate chooses from the experts of all tasks;
    here a row has one domain, so it chooses from S^p, the shared experts and those of the
    row's own domain, and no expert is computed for another domain's rows. With one level
    nothing differs from the paper.

    Every expert is one ReLU layer, as in the paper's experiments.

    Args:
        units: the width of each expert.
        num_domains: the domains, and in row 0 the unseen ones.
        specific_experts: of each domain, m_p.
        shared_experts: m_s.
        gate_units: of ReLU layers in the gates before W_g.
        last: whether this is the last level, which has no shared gate.
        rate: of the dropout after the experts.
        seed: of it.

    Shapes: inputs (x, x_s), each [batch, c], to (g^p, g^s), each [batch, units]; in the last
    level g^s is g^p.
    """

    def __init__(self, units: int, num_domains: int, specific_experts: int = 2,
                 shared_experts: int = 2, gate_units: Sequence[int] = (), last: bool = True,
                 rate: float = 0.0, seed: int = 10, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.units, self.last, self.gate_units = units, last, list(gate_units)
        self.specific_experts, self.shared_experts = specific_experts, shared_experts
        self.dropout = Dropout(rate, seed)
        experts = specific_experts + shared_experts
        self.specific = DomainDense(specific_experts * units, num_domains, activation='relu',
                                    blocks=specific_experts, name='specific')
        self.shared = ExpertDense(units, shared_experts, name='shared')
        self.gate = DomainGate(experts, num_domains, gate_units, name='gate')
        self.shared_hidden = [] if last else [
            keras.layers.Dense(width, activation='relu', name=f'shared_gate_hidden_{i}')
            for i, width in enumerate(gate_units)]
        self.shared_gate = None if last else keras.layers.Dense(
            experts, activation='softmax', name='shared_gate')

    def compute(self, inputs: tuple[tf.Tensor, tf.Tensor], rows: DomainRows,
                training: bool) -> tuple[tf.Tensor, tf.Tensor]:
        own, shared = inputs
        specific = tf.reshape(self.specific(own, rows, training=training),
                              [-1, self.specific_experts, self.units])
        experts = tf.concat([tf.transpose(specific, [1, 0, 2]), self.shared(shared)], axis=0)
        experts = self.dropout(experts, training=training)
        own = mix(self.gate(own, rows, training=training), experts)
        if self.last:
            return own, own
        for layer in self.shared_hidden:
            shared = layer(shared)
        return own, mix(self.shared_gate(shared), experts)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units, 'last': self.last,
                'specific_experts': self.specific_experts,
                'shared_experts': self.shared_experts, 'gate_units': self.gate_units,
                **{key: self.dropout.get_config()[key] for key in ('rate', 'seed')}}

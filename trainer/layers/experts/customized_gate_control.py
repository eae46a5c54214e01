"""Customized gate control, one level of progressive layered extraction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.basic.dropout import ResumableDropout
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.domain.domain_layer import DomainLayer
from trainer.layers.experts.mixture_of_experts import DomainGate, ExpertDense, mix_experts


@keras.utils.register_keras_serializable('mdctr')
class CustomizedGateControl(DomainLayer):
    """Domain-specific and shared experts, mixed by the domain's gate.

    PLE (Tang et al. 2020), equations 1 to 3 (one level, CGC) and 5 to 6 (level j of PLE, whose
    inputs are the outputs of the level below), for a row x of domain p:

        S^p(x) = [E_(p,1)(x), ..., E_(p,m_p)(x), E_(s,1)(x_s), ..., E_(s,m_s)(x_s)]
        g^p(x) = softmax(W_g^p x) S^p(x)

    Below the last level there is also a shared gate g^s(x_s), whose output is the next level's
    x_s. In the paper all tasks share their rows, and the shared gate mixes the experts of all
    tasks; here a row has one domain, so it mixes S^p, the shared experts and those of the
    row's own domain, and no expert is computed for another domain's rows. With one level there
    is no difference from the paper.

    Every expert is one ReLU layer, as in the paper's experiments.

    Example:

    >>> layer = CustomizedGateControl(8, num_domains=3, last=False)
    >>> inputs = tf.ones([2, 4])
    >>> own, shared = layer((inputs, inputs), tf.constant([1, 2]))
    >>> own.shape, shared.shape
    (TensorShape([2, 8]), TensorShape([2, 8]))

    Args:
        units: Width of each expert.
        num_domains: Number of domains, including row 0 for unseen ones.
        specific_experts: Number of experts of each domain, m_p.
        shared_experts: Number of shared experts, m_s.
        gate_units: Widths of ReLU layers in the gates before W_g.
        last: Whether this is the last level, which has no shared gate.
        rate: Dropout rate after the experts.
        seed: Random seed of the dropout.

    Shapes: inputs (x, x_s), each [batch, c], to (g^p, g^s), each [batch, units]; in the last
    level g^s is g^p.
    """

    def __init__(
        self,
        units: int,
        num_domains: int,
        specific_experts: int = 2,
        shared_experts: int = 2,
        gate_units: Sequence[int] = (),
        last: bool = True,
        rate: float = 0.0,
        seed: int = 10,
        **kwargs: Any,
    ):
        super().__init__(num_domains, **kwargs)
        self.units, self.last, self.gate_units = units, last, list(gate_units)
        self.specific_experts, self.shared_experts = specific_experts, shared_experts
        self.dropout = ResumableDropout(rate, seed)
        experts = specific_experts + shared_experts
        self.specific = DomainDense(
            specific_experts * units,
            num_domains,
            activation='relu',
            blocks=specific_experts,
            name='specific',
        )
        self.shared = ExpertDense(units, shared_experts, name='shared')
        self.gate = DomainGate(experts, num_domains, gate_units, name='gate')
        self.shared_hidden: list[keras.layers.Layer] = []
        self.shared_gate: keras.layers.Layer | None = None
        if not last:
            self.shared_hidden = [
                keras.layers.Dense(width, activation='relu', name=f'shared_gate_hidden_{i}')
                for i, width in enumerate(gate_units)
            ]
            self.shared_gate = keras.layers.Dense(
                experts, activation='softmax', name='shared_gate'
            )

    def compute(
        self, inputs: tuple[tf.Tensor, tf.Tensor], domains: DomainBatch, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        own, shared = inputs
        specific = tf.reshape(
            self.specific(own, domains, training=training),
            [-1, self.specific_experts, self.units],
        )
        experts = tf.concat([tf.transpose(specific, [1, 0, 2]), self.shared(shared)], axis=0)
        experts = self.dropout(experts, training=training)
        own = mix_experts(self.gate(own, domains, training=training), experts)
        if self.shared_gate is None:
            return own, own
        for layer in self.shared_hidden:
            shared = layer(shared)
        return own, mix_experts(self.shared_gate(shared), experts)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'units': self.units,
            'last': self.last,
            'specific_experts': self.specific_experts,
            'shared_experts': self.shared_experts,
            'gate_units': self.gate_units,
            **{key: self.dropout.get_config()[key] for key in ('rate', 'seed')},
        }

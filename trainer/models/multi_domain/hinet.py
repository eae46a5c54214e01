"""HiNet: hierarchical information extraction network."""

from __future__ import annotations

from pydantic import Field

from mdctr.errors import UserError
from trainer.keras import keras, tf
from trainer.layers.basic.tower import DomainTower, make_dropouts
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.experts.customized_gate_control import CustomizedGateControl
from trainer.layers.experts.every_domain_dense import EveryDomainDense, own_output
from trainer.layers.experts.mixture_of_experts import ExpertDense, mix_experts
from trainer.layers.experts.other_domains import DomainAttention
from trainer.models.base import CTRModel, Inputs


class HiNet(CTRModel):
    """Extraction of shared, own and other domains' information, below a level of CGC (Zhou et
    al. 2023, as in the authors' code).

    An expert network consists of K sub-experts Q_k and their gate (sub-expert integration):

        S(x) = sum_k g(x)_k Q_k(x)        g(x) = softmax(W x)        Q_k(x) = ReLU(W_k x + b_k)

    The scenario extraction layer has a shared network G, a network S_m for each domain, and an
    attention over the networks of the other domains (`DomainAttention`), for a row of domain p:

        A_p(x) = sum_{m != p} w_pm S_m(x)        C = S_p(x) (+) A_p(x) (+) G(x)

    The task extraction layer is `CustomizedGateControl` over C, with a tower and a logit for
    each domain: with one task, a task and a scenario are one tower here as in the code.

    By this definition the network S_m of every domain is computed for every row, and its cost
    grows with the number of domains. The first of `hidden_units` is the width of G and S_m, the
    second that of the experts of CGC, the others are the tower's. An unseen domain has the mean
    of the domains' networks and reads the networks of all of them.
    """

    class Options(CTRModel.Options):
        """Options of HiNet."""

        sub_experts: int = Field(
            default=4, ge=1, description='Number of sub-experts K of each expert network.'
        )
        specific_experts: int = Field(
            default=2,
            ge=1,
            description='Number of experts of each domain in the task extraction layer.',
        )
        shared_experts: int = Field(
            default=2,
            ge=1,
            description='Number of shared experts in the task extraction layer.',
        )

    options: Options

    def build_network(self) -> None:
        config, options, domains = self.config, self.options, self.num_domains
        if len(config.hidden_units) < 2:
            raise UserError(
                f'model.hidden_units of {config.name} has {len(config.hidden_units)} widths, '
                'but the scenario extraction layer takes the first and the task extraction '
                'layer the second: give at least two.'
            )
        self.units, task_units, *tower_units = config.hidden_units
        count = options.sub_experts
        self.shared = ExpertDense(self.units, count, name='shared')
        self.shared_gate = keras.layers.Dense(count, activation='softmax', name='shared_gate')
        self.specific = EveryDomainDense(
            count * self.units, domains, activation='relu', blocks=count, name='specific'
        )
        self.specific_gate = EveryDomainDense(
            count, domains, activation='softmax', name='specific_gate'
        )
        self.attention = DomainAttention(domains, config.embedding_dim, name='attention')
        self.dropouts = make_dropouts(2, config.dropout, seed=10)
        self.task_level = CustomizedGateControl(
            task_units,
            domains,
            options.specific_experts,
            options.shared_experts,
            rate=config.dropout,
            seed=20,
            name='task_level',
        )
        self.tower = DomainTower(tower_units, domains, config.dropout, name='tower')
        self.head = DomainDense(1, domains, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        flat, domains, options = inputs.flat, inputs.domains, self.options
        shared = mix_experts(
            self.shared_gate(flat), self.dropouts[0](self.shared(flat), training=training)
        )
        experts = tf.reshape(
            self.specific(flat, domains, training=training),
            [-1, self.num_domains, options.sub_experts, self.units],
        )
        experts = self.dropouts[1](experts, training=training)
        gates = self.specific_gate(flat, domains, training=training)
        specific = tf.reduce_sum(gates[:, :, :, None] * experts, axis=2)
        others = self.attention(specific, domains, training=training)
        outputs = tf.concat([own_output(specific, domains), others, shared], axis=1)
        outputs, _ = self.task_level((outputs, outputs), domains, training=training)
        outputs = self.tower(outputs, domains, training=training)
        return tf.squeeze(self.head(outputs, domains, training=training), axis=1)

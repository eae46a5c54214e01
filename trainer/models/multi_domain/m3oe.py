"""M3oE: multi-domain multi-task mixture of experts, for one task."""

from __future__ import annotations

from pydantic import Field

from trainer.keras import keras, tf
from trainer.layers.basic.tower import DomainTower, Tower, make_dropouts
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.domain.star_dense import StarDense
from trainer.layers.experts.balanced_weight import BalancedWeight
from trainer.layers.experts.every_domain_dense import EveryDomainDense, own_output
from trainer.layers.experts.mixture_of_experts import DomainGate, ExpertDense, mix_experts
from trainer.layers.experts.other_domains import OtherDomains
from trainer.models.base import CTRModel, Inputs
from trainer.models.hidden_units import split_hidden_units


class M3oE(CTRModel):
    """Shared, domain and task experts, fused with learned weights (Zhang et al. 2024, as in the
    authors' code).

    Domain representation, for a row x of domain p, with STAR's layer W (x) W_p (`StarDense`):

        h = ReLU(U ((W (x) W_p)^T x + b + b_p) + c) + ReLU(V x + d)

    Three groups of experts read h: shared ones F_k, one D_m of each domain, and that of the
    task, T. The domain experts are balanced between the row's own domain and the others, and
    all three fused:

        D(h) = beta D_p(h) + (1 - beta) mean of D_m(h) over m != p
        z = sum_k g^p(stop(h))_k F_k(h) + lambda_d D(h) + lambda_t T(h)
        g^p(h) = softmax(W_g^p h)        y^p = tower^p(z)

    `stop` passes no gradient. beta, lambda_d and lambda_t are sigmoids of learned scalars. With
    one task, the balance between the experts of the tasks has nothing to weigh.

    By this definition the expert of every domain is computed for every row, and its cost grows
    with the number of domains. The first of `hidden_units` is the width of both layers of the
    domain representation, the others are the experts' and, from the top, the tower's. An unseen
    domain has the shared layer of STAR, the mean of the domains' experts, gates and towers, and
    the experts of all domains as its others.
    """

    class Options(CTRModel.Options):
        """Options of M3oE."""

        shared_experts: int = Field(default=4, ge=1, description='Number of shared experts.')
        tower_layers: int = Field(
            default=0,
            ge=0,
            description='Number of hidden layers, from the top, in the tower of each domain.',
        )
        domain_balance: float = Field(
            default=0.5,
            gt=0,
            lt=1,
            description="Initial weight beta of the own domain's expert.",
        )
        domain_weight: float = Field(
            default=0.5,
            gt=0,
            lt=1,
            description='Initial weight lambda_d of the domain experts.',
        )
        task_weight: float = Field(
            default=0.5, gt=0, lt=1, description='Initial weight lambda_t of the task expert.'
        )

    options: Options

    def build_network(self) -> None:
        config, options, domains = self.config, self.options, self.num_domains
        lower, tower_units = split_hidden_units(
            config, len(config.hidden_units) - options.tower_layers, 'tower_layers', least=2
        )
        units, *expert_units = lower
        self.star = StarDense(units, domains, name='star')
        self.star_hidden = keras.layers.Dense(units, activation='relu', name='star_hidden')
        self.skip = keras.layers.Dense(units, activation='relu', name='skip')
        self.shared_experts = [
            ExpertDense(width, options.shared_experts, name=f'shared_experts_{i}')
            for i, width in enumerate(expert_units)
        ]
        self.domain_experts = [
            EveryDomainDense(width, domains, activation='relu', name=f'domain_experts_{i}')
            for i, width in enumerate(expert_units)
        ]
        self.shared_dropouts = make_dropouts(len(expert_units), config.dropout, seed=10)
        self.domain_dropouts = make_dropouts(len(expert_units), config.dropout, seed=20)
        self.task_expert = Tower(expert_units, config.dropout, seed=40, name='task_expert')
        self.others = OtherDomains(domains, name='others')
        self.gate = DomainGate(options.shared_experts, domains, name='gate')
        self.domain_balance = BalancedWeight(options.domain_balance, name='domain_balance')
        self.domain_weight = BalancedWeight(options.domain_weight, name='domain_weight')
        self.task_weight = BalancedWeight(options.task_weight, name='task_weight')
        self.tower = DomainTower(tower_units, domains, config.dropout, name='tower')
        self.head = DomainDense(1, domains, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        domains = inputs.domains
        hidden = self.star_hidden(self.star(inputs.flat, domains, training=training))
        hidden += self.skip(inputs.flat)
        shared = by_domain = hidden
        for layer, dropout in zip(self.shared_experts, self.shared_dropouts, strict=True):
            shared = dropout(layer(shared), training=training)
        for domain_layer, dropout in zip(
            self.domain_experts, self.domain_dropouts, strict=True
        ):
            by_domain = dropout(
                domain_layer(by_domain, domains, training=training), training=training
            )
        gates = self.gate(tf.stop_gradient(hidden), domains, training=training)
        balanced = self.domain_balance(
            [own_output(by_domain, domains), self.others(by_domain, domains)]
        )
        fused = (
            mix_experts(gates, shared)
            + self.domain_weight([balanced])
            + self.task_weight([self.task_expert(hidden, training=training)])
        )
        outputs = self.tower(fused, domains, training=training)
        return tf.squeeze(self.head(outputs, domains, training=training), axis=1)

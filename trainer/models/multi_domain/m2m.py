"""M2M: multi-scenario multi-task meta learning, for one task."""

from __future__ import annotations

from pydantic import Field

from mdctr.errors import UserError
from trainer.config import Units
from trainer.keras import keras, tf
from trainer.layers.basic.tower import Tower, make_dropouts
from trainer.layers.experts.meta_dense import MetaDense
from trainer.layers.experts.mixture_of_experts import ExpertDense, mix_experts
from trainer.models.base import CTRModel, Inputs


class M2M(CTRModel):
    """Experts whose attention and tower have weights generated from the domain (Zhang et al.
    2022).

    The scenario knowledge s of a domain is a layer over its embedding, s = ReLU(W e_p + b).
    With it, a meta unit (`MetaDense`) generates the weights of both modules above the experts
    E_i(x) of a row x, where T is the vector of the task:

        a_i = v^T Meta_s(E_i(x) (+) T)        R = sum_i softmax(a)_i E_i(x)    (meta attention)
        L^0 = R        L^j = ReLU(Meta^j_s(L^{j-1}) + L^{j-1})                 (meta tower)
        y = MLP(L^J)

    The first of `hidden_units` is the width of E, T, R and L, the others are the MLP's.

    The paper predicts advertisers' behavior from sequences that transformers encode, with a
    Poisson loss; here x is every model's input, whose sequences are pooled, and y the logit of
    a click. There is one task, so T is one trained vector. The scenario knowledge depends on
    the domain alone, so that the weights are generated once for each domain of a batch.

    The embedding of unseen domains is zero and remains so: they have the meta units' shared
    part and what the bias b adds.
    """

    class Options(CTRModel.Options):
        """Options of M2M."""

        domain_feature: bool = Field(
            default=True,
            description='Whether the domain is a feature with an embedding, which M2M needs.',
        )
        experts: int = Field(default=4, ge=1, description='Number of experts.')
        scenario_units: Units = Field(
            default=16, description='Width of the scenario knowledge s.'
        )
        meta_layers: int = Field(
            default=1, ge=0, description='Number of layers J of the meta tower.'
        )

    options: Options

    def build_network(self) -> None:
        config, options = self.config, self.options
        if self.domain_field is None:
            raise UserError(
                f'model.options.domain_feature of {config.name} is false, but the weights are '
                "generated from the domain's embedding: leave the option out."
            )
        if not config.hidden_units:
            raise UserError(
                f'model.hidden_units of {config.name} is empty, but its first width is that of '
                'the experts: give at least one.'
            )
        units, *tower_units = config.hidden_units
        self.knowledge = keras.layers.Dense(
            options.scenario_units, activation='relu', name='knowledge'
        )
        self.experts = ExpertDense(units, options.experts, name='experts')
        (self.dropout,) = make_dropouts(1, config.dropout, seed=10)
        self.task = self.add_weight('task', (units,), initializer='random_uniform')
        self.attention = MetaDense(2 * units, name='attention')
        self.attention_weight = keras.layers.Dense(1, use_bias=False, name='attention_weight')
        self.meta_tower = [
            MetaDense(units, name=f'meta_tower_{i}') for i in range(options.meta_layers)
        ]
        self.tower = Tower(tower_units, config.dropout, seed=20, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        domains = inputs.domains
        assert self.domain_field is not None
        knowledge = self.knowledge(domains.gather(self.domain_field.domain_table))
        experts = self.dropout(self.experts(inputs.flat), training=training)
        rows = tf.transpose(experts, [1, 0, 2])
        pairs = tf.concat([rows, tf.zeros_like(rows) + self.task], axis=2)
        attended = self.attention_weight(self.attention((pairs, knowledge), domains))
        outputs = mix_experts(tf.nn.softmax(tf.squeeze(attended, axis=2)), experts)
        for layer in self.meta_tower:
            outputs = tf.nn.relu(layer((outputs, knowledge), domains) + outputs)
        return tf.squeeze(self.head(self.tower(outputs, training=training)), axis=1)

"""SAR-Net: scenario-aware ranking network."""

from __future__ import annotations

from pydantic import Field

from mdctr.errors import UserError
from trainer.config import Units
from trainer.keras import keras, tf
from trainer.layers.attention.activation_unit import ActivationUnit
from trainer.layers.basic.tower import Tower
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.domain.domain_scale import DomainScale
from trainer.layers.experts.mixture_of_experts import ExpertDense, mix_experts
from trainer.models.base import CTRModel, Inputs
from trainer.models.behaviors import concatenate_fields_without, field_vectors, find_behaviors


class SARNet(CTRModel):
    """Attentions of item and domain over histories, a linear transformation of each domain, and
    shared and specific experts (Shen et al. 2021; the experts as in Scenario-Wise-Rec).

    Each history enters twice, weighted by an attention of the target item and by one of the
    domain's embedding (`ActivationUnit`), instead of by its mean. With the input x that
    results, of a row of domain p, shared experts S_i and the domain's own experts D_pj:

        x' = w_p (x) x + b_p                                     (`DomainScale`)
        z = sum_i g_i S_i(x') + sum_j g_j D_pj(x')               g = softmax(W_g x')
        y = MLP(z)

    An expert is one linear layer, and all domains share the gate's weights and the MLP. The
    first of `hidden_units` is the experts' width, the others are the MLP's.

    The fairness coefficient, by which the paper weights samples whose exposure somebody
    intervened in, is left out: logs have no such mark. An unseen domain has the mean of the
    domains' transformations and experts, and an embedding of zero.
    """

    class Options(CTRModel.Options):
        """Options of SAR-Net."""

        domain_feature: bool = Field(
            default=True,
            description='Whether the domain is a feature with an embedding, which attends to '
            'the histories, too.',
        )
        shared_experts: int = Field(
            default=8, ge=1, description='Number of experts that all domains share.'
        )
        specific_experts: int = Field(
            default=2, ge=1, description='Number of experts of each domain.'
        )
        attention_units: list[Units] = Field(
            default=[36], description='Widths of the hidden layers of the attentions.'
        )

    options: Options

    def build_network(self) -> None:
        config, options = self.config, self.options
        if not config.hidden_units:
            raise UserError(
                f'model.hidden_units of {config.name} is empty, but its first width is that of '
                'the experts: give at least one.'
            )
        has_histories = any(feature.history for feature in self.features)
        self.behaviors = find_behaviors(self) if has_histories else []
        self.attentions = {
            f'{history.name}_by_{query}': (history.name, query)
            for history, target in self.behaviors
            for query in (target.name, *(['domain'] if options.domain_feature else []))
        }
        self.attention_layers = [
            ActivationUnit(options.attention_units, name=f'attention_{name}')
            for name in self.attentions
        ]
        self.units, *tower_units = config.hidden_units
        self.scale = DomainScale(self.num_domains, name='scale')
        self.shared = ExpertDense(
            self.units, options.shared_experts, activation=None, name='shared'
        )
        self.specific = DomainDense(
            options.specific_experts * self.units,
            self.num_domains,
            blocks=options.specific_experts,
            name='specific',
        )
        self.gate = keras.layers.Dense(
            options.shared_experts + options.specific_experts,
            activation='softmax',
            name='gate',
        )
        self.tower = Tower(tower_units, config.dropout, name='tower')
        self.head = keras.layers.Dense(1, name='head')

    def attend(self, inputs: Inputs, training: bool) -> dict[str, tf.Tensor]:
        attended = dict(inputs.attended)
        for layer, (name, (history, query)) in zip(
            self.attention_layers, self.attentions.items(), strict=True
        ):
            if name not in attended:
                sequence = inputs.sequences[history]
                attended[name] = layer(
                    (field_vectors(self, inputs, query), sequence.vectors), sequence.mask
                )
        return attended

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        if not self.attentions:
            return inputs.flat
        histories = {history.name for history, _ in self.behaviors}
        others = concatenate_fields_without(self, inputs, histories)
        return tf.concat([others, *(inputs.attended[name] for name in self.attentions)], axis=1)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        domains = inputs.domains
        scaled = self.scale(inputs.flat, domains, training=training)
        specific = tf.reshape(
            self.specific(scaled, domains, training=training),
            [-1, self.options.specific_experts, self.units],
        )
        experts = tf.concat([self.shared(scaled), tf.transpose(specific, [1, 0, 2])], axis=0)
        outputs = self.tower(mix_experts(self.gate(scaled), experts), training=training)
        return tf.squeeze(self.head(outputs), axis=1)

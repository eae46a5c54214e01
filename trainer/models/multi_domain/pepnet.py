"""PEPNet: parameter and embedding personalized network, and its two parts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from trainer.config import Units
from trainer.keras import keras, tf
from trainer.layers.basic.gate_unit import GateUnit
from trainer.layers.basic.tower import make_dropouts
from trainer.models.base import CTRModel, Inputs
from trainer.models.named_fields import named_fields

Names = Annotated[tuple[str, ...], Strict(False)]


class PersonalizedNetwork(CTRModel):
    """MLP whose input or hidden units are scaled by gates (PEPNet, Chang et al. 2023).

    A subclass chooses the features on which the gates depend: `embedding_prior` and
    `parameter_prior` return the options that name them, or None.
    """

    class Options(CTRModel.Options):
        """Options of an architecture with PEPNet's gates."""

        domain_feature: bool = Field(
            default=True,
            description='Whether the domain is a feature with an embedding, as in the paper.',
        )
        gate_units: Units = Field(
            default=64, description='Width of the hidden layer of each gate.'
        )
        gamma: float = Field(default=2.0, gt=0, description='Greatest factor of a gate.')

    options: Options

    def embedding_prior(self) -> tuple[str, Names] | None:
        """Name and value of the option of the features that scale the embeddings."""
        return None

    def parameter_prior(self) -> tuple[str, Names] | None:
        """Name and value of the option of the features that scale the hidden units."""
        return None

    def build_network(self) -> None:
        config, options = self.config, self.options
        self.embedding_gate: GateUnit | None = None
        self.gates: list[GateUnit] = []
        if (prior := self.embedding_prior()) is not None:
            self.embedding_positions = self._positions(*prior)
            self.embedding_gate = GateUnit(
                len(self.fields) * config.embedding_dim,
                options.gate_units,
                options.gamma,
                name='embedding_gate',
            )
        if (prior := self.parameter_prior()) is not None:
            self.parameter_positions = self._positions(*prior)
            self.gates = [
                GateUnit(units, options.gate_units, options.gamma, name=f'gate_{i}')
                for i, units in enumerate(config.hidden_units)
            ]
        self.hidden = [
            keras.layers.Dense(units, activation='relu', name=f'hidden_{i}')
            for i, units in enumerate(config.hidden_units)
        ]
        self.dropouts = make_dropouts(len(self.hidden), config.dropout, seed=10)
        self.head = keras.layers.Dense(1, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        outputs = inputs.flat
        if self.embedding_gate is not None:
            prior = self._prior(inputs, self.embedding_positions)
            gate_input = tf.concat([prior, tf.stop_gradient(outputs)], axis=1)
            outputs *= self.embedding_gate(gate_input)
        gate_input = outputs
        if self.gates:
            prior = self._prior(inputs, self.parameter_positions)
            gate_input = tf.concat([prior, tf.stop_gradient(outputs)], axis=1)
        for i, (layer, dropout) in enumerate(zip(self.hidden, self.dropouts, strict=True)):
            outputs = layer(outputs)
            if self.gates:
                outputs *= self.gates[i](gate_input)
            outputs = dropout(outputs, training=training)
        return tf.squeeze(self.head(outputs), axis=1)

    def identities(self) -> Names:
        """Names of the first categorical features of the user and of the item."""
        first: dict[str, str] = {}
        for feature in self.features:
            if feature.kind == 'categorical' and feature.owner in ('user', 'item'):
                first.setdefault(feature.owner, feature.name)
        return tuple(first.values())

    def _positions(self, option: str, names: Names) -> tuple[int, ...]:
        return named_fields(self, option, names, hint='name at least one feature of the model')

    def _prior(self, inputs: Inputs, positions: tuple[int, ...]) -> tf.Tensor:
        """Embeddings of the prior features without normalization, which would remove that of
        the domain in a batch of one domain."""
        fields = tf.gather(inputs.fields, positions, axis=1)
        return tf.reshape(fields, [-1, len(positions) * self.config.embedding_dim])


class EPNet(PersonalizedNetwork):
    """MLP over embeddings that are scaled by a gate of the domain (EPNet of PEPNet).

    With E the model's input and E(F_d) the embedding of the domain-side features,

        delta = Gate(E(F_d) (+) stop(E))        O_ep = delta (x) E

    where (+) concatenates, (x) multiplies by entry, `stop` passes no gradient and `Gate` is
    `GateUnit`. An MLP of `hidden_units` reads O_ep.

    Choices: E is the normalized input, because a normalization after the gate would undo
    factors that a domain's rows have in common; E(F_d) is used as looked up. Of the
    domain-side features, of which the paper also has statistics of users and items within the
    domain, the domain itself is the default. The embedding of unseen domains is zero, so their
    rows have the factors that the other inputs of the gate give them.
    """

    class Options(PersonalizedNetwork.Options):
        """Options of EPNet."""

        domain_side: Names = Field(
            default=('domain',),
            description='Features F_d that scale the embeddings: `domain`, other features, or '
            'both.',
        )

    options: Options

    def embedding_prior(self) -> tuple[str, Names] | None:
        return 'domain_side', self.options.domain_side


class PPNet(PersonalizedNetwork):
    """MLP whose hidden units are scaled by gates of users and items (PPNet of PEPNet).

    With H^0 = E the model's input and E(F_p) the embeddings of the prior features, for each
    hidden layer l:

        delta^l = Gate^l(E(F_p) (+) stop(E))        H^l = delta^l (x) ReLU(W^l H^{l-1} + b^l)

    The paper has a tower for each task; here there is one task and one tower, which all domains
    share: the domain is a feature of E. A gate of its own for each layer generates delta^l; the
    input of the network is not scaled, as in the public implementations.
    """

    class Options(PersonalizedNetwork.Options):
        """Options of PPNet."""

        prior_features: Names = Field(
            default=(),
            description='Features F_p of users and items that scale the hidden units; if '
            'empty, the first categorical feature of the user and that of the item.',
        )

    options: Options

    def parameter_prior(self) -> tuple[str, Names] | None:
        return 'prior_features', self.options.prior_features or self.identities()


class PEPNet(PersonalizedNetwork):
    """`EPNet` below `PPNet` (Chang et al. 2023): E of the latter is O_ep of the former."""

    class Options(EPNet.Options, PPNet.Options):
        """Options of PEPNet."""

    options: Options

    def embedding_prior(self) -> tuple[str, Names] | None:
        return 'domain_side', self.options.domain_side

    def parameter_prior(self) -> tuple[str, Names] | None:
        return 'prior_features', self.options.prior_features or self.identities()

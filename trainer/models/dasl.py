"""DASL: dual embeddings and dual attention."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.dataset import Feature
from beam_jobs.options import setting
from trainer.keras import tf
from trainer.layers.behavior_states import BehaviorStates
from trainer.layers.domain_dense import DomainDense
from trainer.layers.domain_rows import DomainRows
from trainer.layers.dual_attention import DualAttention
from trainer.layers.feature_embedding import Sequence
from trainer.layers.orthogonal_mapping import OrthogonalMapping
from trainer.layers.some_rows import for_rows
from trainer.layers.tower import DomainTower
from trainer.models.base import Inputs
from trainer.models.behaviors import field, flat_without
from trainer.models.clicks import Clicks, clicks_of, joined, sequences_of, visible
from trainer.models.cross_domain import OwnEmbeddings


class DASL(OwnEmbeddings):
    """Dual attentive sequential learning (Li et al. 2021).

    Dual embedding: a user has a vector in each domain, and an orthogonal map takes that of a
    target to that of the source. For rows of target k, with the user's vectors u_k and u_s, the
    loss has beside the cross-entropy

        w_1 ||u_k X_k^T - u_s||^2 + w_2 ||X_k X_k^T - I||^2

    Dual attention: a recurrent network a domain reads the user's clicks there, each with the
    user's vector, h_j = GRU([e_j, u]), and the row's item attends to the states of both
    domains together (`DualAttention`); all this for rows of either domain, in which each has
    its own attention and tower.

    With several targets one network reads the clicks in all of them, a row of a target sees
    those in its own domain, and one of the source all. The paper trains the embeddings and the
    predictions in turns, here one loss has both. An unseen domain gets the mean of the domains'
    attentions and towers.
    """

    @dataclass(frozen=True)
    class Options(OwnEmbeddings.Options):
        """
        Attributes:
            state_units: the width of the recurrent states.
            attention_units: the width of the attention's hidden layer.
            alignment: w_1, the weight of the distance between a user's two vectors.
            orthogonality: w_2, the weight that keeps the map orthogonal.
        """

        state_units: int = setting(16, minimum=1)
        attention_units: int = setting(16, minimum=1)
        alignment: float = setting(0.1, minimum=0)
        orthogonality: float = setting(0.1, minimum=0)

    def own_features(self) -> list[Feature]:
        return self.user_features()

    def build_network(self) -> None:
        options, config, parts = self.options, self.config, self.num_parts
        self.clicks = clicks_of(self)
        self.attended = {history.name for clicks in self.clicks
                         for history in (*clicks.source, *clicks.targets)}
        self.mapping = OrthogonalMapping(parts, self.source_part, self.target_parts[0],
                                         name='mapping')
        self.source_states, self.target_states = (
            [BehaviorStates(options.state_units, name=f'{side}_{clicks.target.name}')
             for clicks in self.clicks] for side in ('source', 'target'))
        self.attention = [DualAttention(options.attention_units, parts,
                                        name=f'attention_{clicks.target.name}')
                          for clicks in self.clicks]
        self.tower = DomainTower(config.hidden_units, parts, config.dropout, name='tower')
        self.head = DomainDense(1, parts, name='head')

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        parts, user = self.rows_of_parts(inputs.rows), self._user(inputs)
        if training or not self.mapping.built:
            self._align(inputs, user, parts)
        attended = []
        for place, clicks in enumerate(self.clicks):
            states = joined(self._states(place, clicks, inputs, user, parts))
            target = field(self, inputs, clicks.target.name)
            attended.append(self.attention[place]((states.vectors, target, states.mask), parts,
                                                  training=training))
        return tf.concat([flat_without(self, inputs, self.attended), *attended], axis=1)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        parts = self.rows_of_parts(inputs.rows)
        outputs = self.tower(inputs.flat, parts, training=training)
        return tf.squeeze(self.head(outputs, parts, training=training), axis=1)

    def _user(self, inputs: Inputs) -> tf.Tensor:
        """The user's vector in the row's own domain, [batch, units]."""
        names = {feature.name for feature in self.user_features()}
        return flat_without(self, inputs, set(self.fields) - names)

    def _states(self, place: int, clicks: Clicks, inputs: Inputs, user: tf.Tensor,
                parts: DomainRows) -> list[Sequence]:
        found = []
        for histories, layer in ((clicks.source, self.source_states[place]),
                                 (clicks.targets, self.target_states[place])):
            for history, (vectors, mask) in zip(histories, sequences_of(inputs, histories),
                                                strict=True):
                users = tf.tile(user[:, None, :], [1, tf.shape(vectors)[1], 1])
                states = layer(tf.concat([vectors, users], axis=2), mask)
                if histories is clicks.targets:
                    mask &= visible(self, history, parts)
                found.append(Sequence(states, mask))
        return found

    def _align(self, inputs: Inputs, user: tf.Tensor, parts: DomainRows) -> None:
        """Adds the losses of the dual embedding."""
        numbers = list(range(self.num_parts))
        numbers[0] = numbers[self.source_part] = -1
        ids = {feature.name: inputs.ids[feature.name] for feature in self.user_features()}
        everywhere = DomainRows(tf.constant(self.source_part), self.num_parts)

        def distance(row, rows):
            user, ids = row
            mapped = self.mapping(user, rows, training=True)
            # Looked up as in inference, which adds no losses.
            source = self.own_embedding(ids, everywhere).fields
            away = mapped - tf.reshape(source, tf.shape(mapped))
            return tf.reduce_sum(tf.square(tf.cast(away, tf.float32)), axis=1)
        distances = for_rows(parts, numbers, (user, ids), distance)
        rows = tf.reduce_sum(tf.cast(tf.gather(numbers, parts.domain) >= 0, tf.float32))
        if parts.single:
            rows *= tf.cast(tf.shape(user)[0], tf.float32)
        options = self.options
        self.add_loss(options.alignment * tf.math.divide_no_nan(tf.reduce_sum(distances), rows))
        self.add_loss(options.orthogonality * self.mapping.penalty(parts))

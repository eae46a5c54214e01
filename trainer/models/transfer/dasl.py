"""DASL: dual embeddings and dual attention."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from mdctr.manifest import Feature
from trainer.keras import tf
from trainer.layers.attention.behavior_states import BehaviorStates
from trainer.layers.attention.dual_attention import DualAttention
from trainer.layers.basic.tower import DomainTower
from trainer.layers.domain.compute_for_domains import compute_for_domains
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.inputs.feature_embedding import EmbeddedSequence
from trainer.layers.transfer.orthogonal_mapping import OrthogonalMapping
from trainer.models.base import Inputs
from trainer.models.behaviors import concatenate_fields_without, field_vectors
from trainer.models.transfer.clicks import (
    Clicks,
    concatenate_sequences,
    find_clicks,
    history_sequences,
    visibility,
)
from trainer.models.transfer.cross_domain import PartEmbeddingsModel


class DASL(PartEmbeddingsModel):
    """Dual attentive sequential learning (Li et al. 2021).

    Dual embedding: a user has a vector in each domain, and an orthogonal map takes that of a
    target to that of the source. For rows of target k, with the user's vectors u_k and u_s, the
    loss adds to the cross-entropy

        w_1 ||u_k X_k^T - u_s||^2 + w_2 ||X_k X_k^T - I||^2

    Dual attention: a recurrent network per domain reads the user's clicks there, each with the
    user's vector, h_j = GRU([e_j, u]), and the row's item attends to the states of both domains
    together (`DualAttention`). Rows of either domain are scored this way, and each domain has
    its own attention and tower.

    Differences from the paper and its authors' code:

    * The paper trains embeddings and predictions in turns; here one loss has both.
    * In the authors' code, the attention's scores do not depend on the item, and only the
      states of the row's own domain are summed, with the weights of a softmax over both.
    * The authors' code minimizes a cosine distance instead of ||u_k X_k^T - u_s||^2, does not
      add the orthogonality term to a loss, and adds biases of user and item to the logit.
    * With several targets, one network reads the clicks in all of them; a row of a target reads
      those in its own domain, and one of the source all.
    * An unseen domain has the mean of the domains' attentions and towers.
    """

    class Options(PartEmbeddingsModel.Options):
        """Options of DASL."""

        state_units: int = Field(default=16, ge=1, description='Width of the recurrent states.')
        attention_units: int = Field(
            default=16, ge=1, description="Width of the attention's hidden layer."
        )
        alignment_weight: float = Field(
            default=0.1,
            ge=0,
            description="Weight w_1 of the distance between a user's two vectors in the loss.",
        )
        orthogonality_weight: float = Field(
            default=0.1,
            ge=0,
            description='Weight w_2 in the loss that keeps the map orthogonal.',
        )

    options: Options

    def part_features(self) -> list[Feature]:
        return self.user_features()

    def build_network(self) -> None:
        options, config, parts = self.options, self.config, self.num_parts
        self.clicks = find_clicks(self)
        self.attended = {
            history.name
            for clicks in self.clicks
            for history in (*clicks.source, *clicks.targets)
        }
        self.mapping = OrthogonalMapping(
            parts, self.source_part, self.target_parts[0], name='mapping'
        )
        self.source_states, self.target_states = (
            [
                BehaviorStates(options.state_units, name=f'{side}_{clicks.target.name}')
                for clicks in self.clicks
            ]
            for side in ('source', 'target')
        )
        self.attention = [
            DualAttention(
                options.attention_units, parts, name=f'attention_{clicks.target.name}'
            )
            for clicks in self.clicks
        ]
        self.tower = DomainTower(config.hidden_units, parts, config.dropout, name='tower')
        self.head = DomainDense(1, parts, name='head')

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        parts, user = self.batch_parts(inputs.domains), self._user(inputs)
        if training or not self.mapping.built:
            self._align(inputs, user, parts)
        attended = []
        for place, clicks in enumerate(self.clicks):
            states = concatenate_sequences(self._states(place, clicks, inputs, user, parts))
            target = field_vectors(self, inputs, clicks.target.name)
            attended.append(
                self.attention[place](
                    (states.vectors, target, states.mask), parts, training=training
                )
            )
        return tf.concat(
            [concatenate_fields_without(self, inputs, self.attended), *attended], axis=1
        )

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        parts = self.batch_parts(inputs.domains)
        outputs = self.tower(inputs.flat, parts, training=training)
        return tf.squeeze(self.head(outputs, parts, training=training), axis=1)

    def _user(self, inputs: Inputs) -> tf.Tensor:
        """Returns the user's vector in the row's own domain, [batch, units]."""
        names = {feature.name for feature in self.user_features()}
        return concatenate_fields_without(self, inputs, set(self.fields) - names)

    def _states(
        self, place: int, clicks: Clicks, inputs: Inputs, user: tf.Tensor, parts: DomainBatch
    ) -> list[EmbeddedSequence]:
        sequences = []
        for histories, layer in (
            (clicks.source, self.source_states[place]),
            (clicks.targets, self.target_states[place]),
        ):
            for history, (vectors, mask) in zip(
                histories, history_sequences(inputs, histories), strict=True
            ):
                users = tf.tile(user[:, None, :], [1, tf.shape(vectors)[1], 1])
                states = layer(tf.concat([vectors, users], axis=2), mask)
                if histories is clicks.targets:
                    mask &= visibility(self, history, parts)
                sequences.append(EmbeddedSequence(states, mask))
        return sequences

    def _align(self, inputs: Inputs, user: tf.Tensor, parts: DomainBatch) -> None:
        """Adds the losses of the dual embedding."""
        numbers = list(range(self.num_parts))
        numbers[0] = numbers[self.source_part] = -1
        ids = {feature.name: inputs.ids[feature.name] for feature in self.user_features()}
        in_source = DomainBatch(tf.constant(self.source_part), self.num_parts)

        def distance(row: tuple[tf.Tensor, dict[str, tf.Tensor]], parts: DomainBatch) -> Any:
            user, ids = row
            mapped = self.mapping(user, parts, training=True)
            # Looked up as at inference, which adds no losses.
            source = self.own_embedding(ids, in_source).fields
            difference = mapped - tf.reshape(source, tf.shape(mapped))
            return tf.reduce_sum(tf.square(tf.cast(difference, tf.float32)), axis=1)

        distances = compute_for_domains(parts, numbers, (user, ids), distance)
        rows = tf.reduce_sum(tf.cast(tf.gather(numbers, parts.domain) >= 0, tf.float32))
        if parts.single_domain:
            rows *= tf.cast(tf.shape(user)[0], tf.float32)
        options = self.options
        self.add_loss(
            options.alignment_weight * tf.math.divide_no_nan(tf.reduce_sum(distances), rows)
        )
        self.add_loss(options.orthogonality_weight * self.mapping.penalty(parts))

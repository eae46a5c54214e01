"""MiNet: a user's interests in the source and the target domain."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from mdctr.manifest import Feature
from trainer.keras import tf
from trainer.layers.attention.interest_attention import InterestAttention
from trainer.layers.attention.item_attention import ItemAttention, ItemAttentionInputs
from trainer.layers.basic.gradient_scale import scale_gradient
from trainer.layers.basic.tower import DomainTower
from trainer.layers.domain.compute_for_domains import compute_for_domains
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.inputs.feature_embedding import EmbeddedSequence
from trainer.models.base import Inputs
from trainer.models.behaviors import concatenate_fields_without, field_vectors
from trainer.models.transfer.clicks import (
    concatenate_sequences,
    find_clicks,
    history_sequences,
    visibility,
)
from trainer.models.transfer.cross_domain import CrossDomainModel


class _TargetRows(NamedTuple):
    """Rows of targets; lists have an entry for each of the model's `clicks`.

    Attributes:
        item: q, features of the item, normalized, [batch, units].
        user: p, features of the user, normalized, [batch, units].
        others: All other features, normalized, [batch, units].
        vectors: Embeddings of the row's item that correspond to its histories.
        source: Histories of clicks in the source domain.
        targets: Histories of clicks in target domains.
    """

    item: tf.Tensor
    user: tf.Tensor
    others: tf.Tensor
    vectors: list[tf.Tensor]
    source: list[list[EmbeddedSequence]]
    targets: list[list[EmbeddedSequence]]


class MiNet(CrossDomainModel):
    """Mixed interest network (Ouyang et al. 2020).

    A user has a long-term interest p, which both domains share, the features of the user; and a
    short-term interest a_s in the source domain and a_t in the target domain, each an attention
    of the item q to the user's clicks there (`ItemAttention`). Weighted by their relevance to
    the item (`InterestAttention`), they are the target tower's input; a row of the source has
    only the long-term interest, as in the paper:

        m_t = [q, v_u p, v_s a_s, v_t a_t],    m_s = [q, p]

    Each domain has its own tower. The loss is loss_t + gamma loss_s, here as a weight gamma of
    each row of the source.

    Several targets have separate towers and share the attentions; a row reads the clicks in its
    own domain. Features of neither user nor item go directly into every tower. An unseen domain
    is scored as a target, with the mean of the targets' towers.
    """

    class Options(CrossDomainModel.Options):
        """Options of MiNet."""

        gamma: float = Field(
            default=1.0,
            ge=0,
            description='Weight of a row of the source in the loss, relative to one of a '
            'target.',
        )
        attention_units: int = Field(
            default=16, ge=1, description="Width of both attentions' hidden layers."
        )
        rank: int = Field(
            default=4,
            ge=1,
            description="Rank of the map from the source's items to the target's.",
        )

    options: Options

    def build_network(self) -> None:
        options, config = self.options, self.config
        self.clicks = find_clicks(self)
        attended = {
            history.name
            for clicks in self.clicks
            for history in (*clicks.source, *clicks.targets)
        }
        self.kept = [name for name in self.fields if name not in attended]
        users = [feature.name for feature in self.user_features()]
        items = [feature.name for feature in self.item_features()]
        self.places = [
            [place for place, name in enumerate(self.kept) if name in names]
            for names in (items, users, set(self.kept) - {*items, *users})
        ]
        self.source_attention = [
            ItemAttention(
                options.attention_units, options.rank, name=f'source_{clicks.target.name}'
            )
            for clicks in self.clicks
        ]
        self.target_attention = [
            ItemAttention(options.attention_units, name=f'target_{clicks.target.name}')
            for clicks in self.clicks
        ]
        self.interests = InterestAttention(options.attention_units, name='interests')
        targets = len(self.target_parts) + 1
        self.short_term = self.make_normalization(targets, 'short_term')
        self.target_tower = DomainTower(
            config.hidden_units, targets, config.dropout, name='target_tower'
        )
        self.target_head = DomainDense(1, targets, name='target_head')
        # Domain layers too, of which the source is domain 1, so that no row of a target updates
        # them.
        self.source_tower = DomainTower(
            config.hidden_units, 2, config.dropout, seed=60, name='source_tower'
        )
        self.source_head = DomainDense(1, 2, name='source_head')

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return concatenate_fields_without(self, inputs, set(self.fields) - set(self.kept))

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        item, user, others = self._split(inputs.flat)
        parts = self.batch_parts(inputs.domains)
        row = _TargetRows(
            item,
            user,
            others,
            [field_vectors(self, inputs, clicks.target.name) for clicks in self.clicks],
            [history_sequences(inputs, clicks.source) for clicks in self.clicks],
            [self._in_targets(inputs, clicks.targets, parts) for clicks in self.clicks],
        )
        source = [-1] * self.num_parts
        source[self.source_part] = 1
        source_logits = compute_for_domains(
            parts,
            source,
            [item, user, others],
            lambda rows, domains: self._score_source(rows, domains, training),
        )
        if self.options.gamma != 1:
            source_logits = scale_gradient(source_logits, self.options.gamma)
        targets = [
            self.target_parts.index(part) + 1 if part in self.target_parts else 0
            for part in range(self.num_parts)
        ]
        targets[self.source_part] = -1
        target_logits = compute_for_domains(
            parts,
            targets,
            row,
            lambda rows, domains: self._score_target(rows, domains, training),
        )
        return tf.cast(source_logits + target_logits, inputs.flat.dtype)

    def _split(self, flat: tf.Tensor) -> list[tf.Tensor]:
        dim = self.config.embedding_dim
        fields = tf.reshape(flat, [-1, len(self.kept), dim])
        batch = tf.shape(fields)[0]
        return [
            tf.reshape(
                tf.gather(fields, tf.constant(places, tf.int32), axis=1),
                [batch, len(places) * dim],
            )
            for places in self.places
        ]

    def _in_targets(
        self, inputs: Inputs, histories: list[Feature], parts: DomainBatch
    ) -> list[EmbeddedSequence]:
        return [
            sequence._replace(mask=sequence.mask & visibility(self, history, parts))
            for history, sequence in zip(
                histories, history_sequences(inputs, histories), strict=True
            )
        ]

    def _score_source(
        self, rows: list[tf.Tensor], domains: DomainBatch, training: bool
    ) -> tf.Tensor:
        outputs = self.source_tower(tf.concat(rows, axis=1), domains, training=training)
        return tf.squeeze(self.source_head(outputs, domains, training=training), axis=1)

    def _score_target(
        self, rows: _TargetRows, domains: DomainBatch, training: bool
    ) -> tf.Tensor:
        short_term = [
            self._attend(self.source_attention, rows, rows.source),
            self._attend(self.target_attention, rows, rows.targets),
        ]
        if self.short_term is not None:
            widths = [interest.shape[1] for interest in short_term]
            short_term = tf.split(
                self.short_term(tf.concat(short_term, axis=1), domains, training=training),
                widths,
                axis=1,
            )
        weighted = self.interests((rows.item, [rows.user, *short_term]))
        outputs = self.target_tower(
            tf.concat([rows.item, *weighted, rows.others], axis=1), domains, training=training
        )
        return tf.squeeze(self.target_head(outputs, domains, training=training), axis=1)

    @staticmethod
    def _attend(
        layers: list[ItemAttention], rows: _TargetRows, histories: list[list[EmbeddedSequence]]
    ) -> tf.Tensor:
        attended = []
        for layer, vector, sequences in zip(layers, rows.vectors, histories, strict=True):
            if sequences:
                clicks = concatenate_sequences(sequences)
                attended.append(
                    layer(
                        ItemAttentionInputs(clicks.vectors, vector, rows.item, rows.user),
                        clicks.mask,
                    )
                )
        return tf.concat(attended, axis=1)

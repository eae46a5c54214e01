"""MiNet: a user's interests in source and target domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from beam_jobs.dataset import Feature
from beam_jobs.options import setting
from trainer.keras import tf
from trainer.layers.domain_dense import DomainDense
from trainer.layers.domain_rows import DomainRows
from trainer.layers.feature_embedding import Sequence
from trainer.layers.gradient_scale import scale_gradient
from trainer.layers.interest_attention import InterestAttention
from trainer.layers.item_attention import Attended, ItemAttention
from trainer.layers.some_rows import for_rows
from trainer.layers.tower import DomainTower
from trainer.models.base import Inputs
from trainer.models.behaviors import field, flat_without
from trainer.models.clicks import clicks_of, joined, sequences_of, visible
from trainer.models.cross_domain import CrossDomainModel


class _Row(NamedTuple):
    """What a row of a target is scored by.

    Attributes:
        item, user, others: q, p and what else is known of it, normalized, [batch, units].
        vectors: of each of `clicks`, that of the row's own item.
        source: of each, the histories of clicks in the source domain.
        targets: of each, those of clicks in the target domain.
    """

    item: tf.Tensor
    user: tf.Tensor
    others: tf.Tensor
    vectors: list[tf.Tensor]
    source: list[list[Sequence]]
    targets: list[list[Sequence]]


class MiNet(CrossDomainModel):
    """The mixed interest network (Ouyang et al. 2020).

    A user has a long-term interest p, which both domains share: the features of the user; a
    short-term interest a_s in the source domain and one, a_t, in the target domain, each an
    attention of the item q to the user's clicks there (`ItemAttention`). Weighed by how they
    go with the item (`InterestAttention`), they are the target tower's input; a row of the
    source has the long-term interest alone, as in the paper:

        m_t = [q, v_u p, v_s a_s, v_t a_t],    m_s = [q, p]

    and each domain a tower of its own. The loss is loss_t + gamma loss_s; here of rows, so
    that a row of the source counts gamma times one of a target.

    With several targets, each has its tower, they share the attentions, and a row sees the
    clicks in its own domain. What belongs neither to user nor item goes into every tower as it
    is. An unseen domain is scored as a target, by the mean of the targets' towers.
    """

    @dataclass(frozen=True)
    class Options(CrossDomainModel.Options):
        """
        Attributes:
            gamma: how much a row of the source counts beside one of a target.
            attention_units: the width of both attentions' hidden layers.
            rank: of the map from the source's items to the target's.
        """

        gamma: float = setting(1.0, minimum=0)
        attention_units: int = setting(16, minimum=1)
        rank: int = setting(4, minimum=1)

    def build_network(self) -> None:
        options, config = self.options, self.config
        self.clicks = clicks_of(self)
        attended = {history.name for clicks in self.clicks
                    for history in (*clicks.source, *clicks.targets)}
        self.kept = [name for name in self.fields if name not in attended]
        users = [feature.name for feature in self.user_features()]
        items = [feature.name for feature in self.item_features()]
        self.places = [[place for place, name in enumerate(self.kept) if name in names]
                       for names in (items, users, set(self.kept) - {*items, *users})]
        self.source_attention = [
            ItemAttention(options.attention_units, options.rank,
                          name=f'source_{clicks.target.name}') for clicks in self.clicks]
        self.target_attention = [
            ItemAttention(options.attention_units, name=f'target_{clicks.target.name}')
            for clicks in self.clicks]
        self.interests = InterestAttention(options.attention_units, name='interests')
        targets = len(self.target_parts) + 1
        self.short_term = self.make_normalization(targets, 'short_term')
        self.target_tower = DomainTower(config.hidden_units, targets, config.dropout,
                                        name='target_tower')
        self.target_head = DomainDense(1, targets, name='target_head')
        # A domain's layers too, so that rows of targets do not move them: the source is 1.
        self.source_tower = DomainTower(config.hidden_units, 2, config.dropout, seed=60,
                                        name='source_tower')
        self.source_head = DomainDense(1, 2, name='source_head')

    def tower_input(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return flat_without(self, inputs, set(self.fields) - set(self.kept))

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        item, user, others = self._split(inputs.flat)
        parts = self.rows_of_parts(inputs.rows)
        row = _Row(item, user, others,
                   [field(self, inputs, clicks.target.name) for clicks in self.clicks],
                   [sequences_of(inputs, clicks.source) for clicks in self.clicks],
                   [self._in_targets(inputs, clicks.targets, parts) for clicks in self.clicks])
        source = [-1] * self.num_parts
        source[self.source_part] = 1
        of_source = for_rows(
            parts, source, [item, user, others],
            lambda row, rows: self._score_source(row, rows, training))
        if self.options.gamma != 1:
            of_source = scale_gradient(of_source, self.options.gamma)
        targets = [self.target_parts.index(part) + 1 if part in self.target_parts else 0
                   for part in range(self.num_parts)]
        targets[self.source_part] = -1
        of_targets = for_rows(
            parts, targets, row, lambda row, rows: self._score_target(row, rows, training))
        return tf.cast(of_source + of_targets, inputs.flat.dtype)

    def _split(self, flat: tf.Tensor) -> list[tf.Tensor]:
        dim = self.config.embedding_dim
        fields = tf.reshape(flat, [-1, len(self.kept), dim])
        batch = tf.shape(fields)[0]
        return [tf.reshape(tf.gather(fields, tf.constant(places, tf.int32), axis=1),
                           [batch, len(places) * dim]) for places in self.places]

    def _in_targets(self, inputs: Inputs, histories: list[Feature],
                    parts: DomainRows) -> list[Sequence]:
        return [sequence._replace(mask=sequence.mask & visible(self, history, parts))
                for history, sequence in zip(histories, sequences_of(inputs, histories),
                                             strict=True)]

    def _score_source(self, row: list[tf.Tensor], rows: DomainRows,
                      training: bool) -> tf.Tensor:
        outputs = self.source_tower(tf.concat(row, axis=1), rows, training=training)
        return tf.squeeze(self.source_head(outputs, rows, training=training), axis=1)

    def _score_target(self, row: _Row, rows: DomainRows, training: bool) -> tf.Tensor:
        short_term = [self._attend(self.source_attention, row, row.source),
                      self._attend(self.target_attention, row, row.targets)]
        if self.short_term is not None:
            widths = [interest.shape[1] for interest in short_term]
            short_term = tf.split(self.short_term(
                tf.concat(short_term, axis=1), rows, training=training), widths, axis=1)
        weighed = self.interests((row.item, [row.user, *short_term]))
        outputs = self.target_tower(tf.concat([row.item, *weighed, row.others], axis=1), rows,
                                    training=training)
        return tf.squeeze(self.target_head(outputs, rows, training=training), axis=1)

    @staticmethod
    def _attend(layers: list[ItemAttention], row: _Row,
                histories: list[list[Sequence]]) -> tf.Tensor:
        attended = []
        for layer, vector, sequences in zip(layers, row.vectors, histories, strict=True):
            if sequences:
                clicks = joined(sequences)
                attended.append(layer(
                    Attended(clicks.vectors, vector, row.item, row.user), clicks.mask))
        return tf.concat(attended, axis=1)

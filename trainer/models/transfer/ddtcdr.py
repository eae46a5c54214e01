"""DDTCDR: deep dual transfer between a source and its targets."""

from __future__ import annotations

from pydantic import Field

from mdctr.manifest import Feature
from trainer.keras import tf
from trainer.layers.basic.tower import DomainTower
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.transfer.orthogonal_mapping import OrthogonalMapping
from trainer.models.base import Inputs
from trainer.models.transfer.cross_domain import PartEmbeddingsModel


class DDTCDR(PartEmbeddingsModel):
    """Tower per domain, whose predictions are mixed with those of the other domain's tower
    (DDTCDR, Li and Tuzhilin 2020, section 3.3).

    A user has a vector u in each domain. For a row of target domain k with all other features
    i, and for a row of the source s:

        p_k = (1 - alpha) RS_k(u_k, i) + alpha RS_s(u_k X_k^T, i)
        p_s = (1 - alpha) RS_s(u_s, i) + alpha RS_k(u_s X_k, i)

    with X_k (`OrthogonalMapping`) kept orthogonal by the loss. RS are click probabilities, and
    p is their mixture.

    Differences from the paper, and choices that it leaves open: its vectors come from
    autoencoders trained beforehand; here they are embeddings, trained with the rest and
    normalized with the towers' input. With several targets, rows of the source use the tower of
    the first (largest) one. An unseen domain has the mean of the domains' towers and, as the
    other tower, the source's.
    """

    class Options(PartEmbeddingsModel.Options):
        """Options of DDTCDR."""

        alpha: float = Field(
            default=0.03,
            ge=0,
            le=0.99,
            description="Weight of the other domain's prediction; the default is the paper's.",
        )
        orthogonality_weight: float = Field(
            default=0.1, ge=0, description='Weight of ||X X^T - I||^2 in the loss.'
        )

    options: Options

    def part_features(self) -> list[Feature]:
        return self.user_features()

    def build_network(self) -> None:
        config, parts = self.config, self.num_parts
        users = [feature.name for feature in self.user_features()]
        self.users = [place for place, name in enumerate(self.fields) if name in users]
        self.others = [place for place, name in enumerate(self.fields) if name not in users]
        self.partner = self.target_parts[0]
        self.mapping = OrthogonalMapping(parts, self.source_part, self.partner, name='mapping')
        self.tower = DomainTower(config.hidden_units, parts, config.dropout, name='tower')
        self.head = DomainDense(1, parts, name='head')

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        parts, dim = self.batch_parts(inputs.domains), self.config.embedding_dim
        fields = tf.reshape(inputs.flat, [-1, len(self.fields), dim])
        user, others = (
            tf.reshape(tf.gather(fields, places, axis=1), [-1, len(places) * dim])
            for places in (self.users, self.others)
        )
        own = self._score(user, others, parts, training)
        if not self.options.alpha:
            return own
        mapped = self.mapping(user, parts, training=training)
        if training and self.options.orthogonality_weight:
            self.add_loss(self.options.orthogonality_weight * self.mapping.penalty(parts))
        helper = DomainBatch(
            tf.where(tf.equal(parts.domain, self.source_part), self.partner, self.source_part),
            self.num_parts,
        )
        other = helper.unsort(
            self._score(helper.sort(mapped), helper.sort(others), helper, training)
        )
        return tf.cast(mixture(own, other, self.options.alpha), own.dtype)

    def _score(
        self, user: tf.Tensor, others: tf.Tensor, parts: DomainBatch, training: bool
    ) -> tf.Tensor:
        outputs = self.tower(tf.concat([user, others], axis=1), parts, training=training)
        return tf.squeeze(self.head(outputs, parts, training=training), axis=1)


def mixture(first: tf.Tensor, second: tf.Tensor, share: float) -> tf.Tensor:
    """Returns the logit of (1 - share) sigmoid(first) + share sigmoid(second), in float32."""
    first, second = tf.cast(first, tf.float32), tf.cast(second, tf.float32)

    def log_probability(sign: float) -> tf.Tensor:
        return tf.reduce_logsumexp(
            tf.stack(
                [
                    tf.math.log(1 - share) - tf.math.softplus(-sign * first),
                    tf.math.log(share) - tf.math.softplus(-sign * second),
                ]
            ),
            axis=0,
        )

    return log_probability(1.0) - log_probability(-1.0)

"""Deep dual transfer between a source and its targets."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.dataset import Feature
from beam_jobs.options import setting
from trainer.keras import tf
from trainer.layers.domain_dense import DomainDense
from trainer.layers.domain_rows import DomainRows
from trainer.layers.orthogonal_mapping import OrthogonalMapping
from trainer.layers.tower import DomainTower
from trainer.models.base import Inputs
from trainer.models.cross_domain import OwnEmbeddings


class DDTCDR(OwnEmbeddings):
    """A tower a domain, and predictions to which the other domain's tower adds its own
    (DDTCDR, Li and Tuzhilin 2020, section 3.3).

    A user has a vector u in each domain. For a row of target domain k with what else is known
    of it, i, and for a row of the source s:

        p_k = (1 - alpha) RS_k(u_k, i) + alpha RS_s(u_k X_k^T, i)
        p_s = (1 - alpha) RS_s(u_s, i) + alpha RS_k(u_s X_k, i)

    with orthogonal X_k (`OrthogonalMapping`), which the loss keeps so. RS are click
    probabilities, and p is their mixture.

    What the paper leaves open, or has otherwise: its vectors come from autoencoders that are
    trained before, here they are embeddings trained along, normalized as the towers' input is;
    with several targets, the source's own rows are helped by the tower of the first (largest)
    of them. An unseen domain gets the mean of the domains' towers, helped by the source's.
    """

    @dataclass(frozen=True)
    class Options(OwnEmbeddings.Options):
        """
        Attributes:
            alpha: the share of the other domain's prediction; the paper's 0.03.
            orthogonality: the weight of ||X X^T - I||^2 in the loss.
        """

        alpha: float = setting(0.03, minimum=0, maximum=0.99)
        orthogonality: float = setting(0.1, minimum=0)

    def own_features(self) -> list[Feature]:
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
        parts, dim = self.rows_of_parts(inputs.rows), self.config.embedding_dim
        fields = tf.reshape(inputs.flat, [-1, len(self.fields), dim])
        user, others = (
            tf.reshape(tf.gather(fields, places, axis=1), [-1, len(places) * dim])
            for places in (self.users, self.others))
        own = self._score(user, others, parts, training)
        if not self.options.alpha:
            return own
        mapped = self.mapping(user, parts, training=training)
        if training and self.options.orthogonality:
            self.add_loss(self.options.orthogonality * self.mapping.penalty(parts))
        helper = DomainRows(tf.where(tf.equal(parts.domain, self.source_part), self.partner,
                                     self.source_part), self.num_parts)
        other = helper.unsort(self._score(helper.sort(mapped), helper.sort(others), helper,
                                          training))
        return tf.cast(mixture(own, other, self.options.alpha), own.dtype)

    def _score(self, user: tf.Tensor, others: tf.Tensor, parts: DomainRows,
               training: bool) -> tf.Tensor:
        outputs = self.tower(tf.concat([user, others], axis=1), parts, training=training)
        return tf.squeeze(self.head(outputs, parts, training=training), axis=1)


def mixture(first: tf.Tensor, second: tf.Tensor, share: float) -> tf.Tensor:
    """The logit of (1 - share) sigmoid(first) + share sigmoid(second), in float32."""
    first, second = tf.cast(first, tf.float32), tf.cast(second, tf.float32)

    def log_probability(sign):
        return tf.reduce_logsumexp(tf.stack([
            tf.math.log(1 - share) - tf.math.softplus(-sign * first),
            tf.math.log(share) - tf.math.softplus(-sign * second)]), axis=0)
    return log_probability(1.0) - log_probability(-1.0)

"""Partitioned normalization, STAR 3.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_layer import DomainLayer, FoldedDense
from trainer.layers.domain_rows import DomainRows
from trainer.layers.moving_moments import keep_rate
from trainer.layers.normalize import Dense, normalize, normalized_dense


@dataclass(eq=False)
class _Folded:
    scale: tf.Variable
    shift: tf.Variable


@dataclass(eq=False)
class _FoldedAway:
    """The layer behind does it."""


@keras.utils.register_keras_serializable('mdctr')
class PartitionedNormalization(DomainLayer):
    """Batch normalization with each domain's own moments, scale and bias.

    STAR, equations 3 (training, with the moments mu, sigma^2 of the domain's rows in the
    batch) and 4 (inference, with the domain's moving averages E_p, Var_p):

        z' = (gamma gamma_p) (z - mu) / sqrt(sigma^2 + epsilon) + (beta + beta_p)

    What the paper leaves open:

    * Fewer than two rows of a domain in a training batch have no variance: they are
      normalized by the moving averages, which they do not move.
    * A domain that no batch has shown, 0 among them, has no averages: it uses those of row 0,
      which follow the rows of all domains (so Var_0 holds the variance between domains too).
    * An average starts with its first batch, and moves faster at first (`keep_rate`).

    Args:
        num_domains: the domains, and in row 0 the unseen ones.
        momentum: of the moving averages.
        epsilon: added to variances.

    Shapes: inputs [batch, units] to the same.
    """

    def __init__(self, num_domains: int, momentum: float = 0.99, epsilon: float = 1e-3,
                 **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = (input_shape[-1],)
        exact = {'dtype': tf.float32, 'experimental_autocast': False}
        self.gamma = self.add_weight('gamma', shape, initializer='ones', **exact)
        self.beta = self.add_weight('beta', shape, initializer='zeros', **exact)
        self.domain_gamma = self.add_domain_weight('gamma', shape, initializer='ones', **exact)
        self.domain_beta = self.add_domain_weight('beta', shape, initializer='zeros', **exact)
        state = {**exact, 'trainable': False}
        self.moving_mean = self.add_domain_weight('moving_mean', shape, initializer='zeros',
                                                  **state)
        self.moving_variance = self.add_domain_weight('moving_variance', shape,
                                                      initializer='ones', **state)
        self.moving_count = self.add_domain_weight('moving_count', (), initializer='zeros',
                                                   **state)
        super().build(input_shape)

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        if isinstance(self.folded, _FoldedAway) and not training:
            return inputs
        if self.folded is not None and not training:
            scale, shift = rows.take(self.folded.scale), rows.take(self.folded.shift)
            outputs = tf.cast(inputs, tf.float32) * rows.spread(scale) + rows.spread(shift)
            return tf.cast(outputs, inputs.dtype)
        values = tf.cast(inputs, tf.float32)
        averages = self._averages(rows.present)
        gamma, beta = self._parameters(rows)
        if not training:
            mean, variance = averages
            scale = gamma * tf.math.rsqrt(variance + self.epsilon)
            outputs = values * rows.spread(scale) + rows.spread(beta - mean * scale)
            return tf.cast(outputs, inputs.dtype)
        outputs, mean, variance = normalize(values, gamma, beta, rows, averages, self.epsilon)
        self._move(rows, rows.counts(values), mean, variance)
        return tf.cast(outputs, inputs.dtype)

    def train_with_dense(self, inputs: tf.Tensor, rows: DomainRows, dense: Dense,
                         beside: Dense) -> tuple[tf.Tensor, tf.Tensor]:
        """This layer and the dense layer behind it in training, faster than one by one.

        Args:
            inputs: rows of one domain, [batch, inputs], float32.
            rows: their domain.
            dense: that this layer's outputs go to.
            beside: that the inputs themselves go to.

        Returns:
            The outputs of the two, [batch, units] each.
        """
        outputs, aside, mean, variance = normalized_dense(
            inputs, *self._parameters(rows), dense, beside, rows, self._averages(rows.present),
            self.epsilon)
        self._move(rows, rows.counts(inputs), mean, variance)
        return outputs, aside

    def _parameters(self, rows):
        """gamma gamma_p and beta + beta_p, [present, units]."""
        return (rows.take(self.domain_gamma) * self.gamma,
                rows.take(self.domain_beta) + self.beta)

    def _averages(self, domains):
        """Moving averages [domains, units] by which inference normalizes these domains."""
        known = tf.gather(self.moving_count, domains) > 0
        source = tf.where(known, domains, 0)
        return tf.gather(self.moving_mean, source), tf.gather(self.moving_variance, source)

    def _move(self, rows, counts, mean, variance):
        domains = rows.present
        enough = (counts >= 2) & (domains > 0)
        updates = tf.gather(self.moving_count, domains)
        keep = tf.where(enough, keep_rate(updates, self.momentum), 1.0)[:, None]
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moved = keep * tf.gather(average, domains) + (1 - keep) * value
            average.scatter_update(tf.IndexedSlices(moved, domains))
        self.moving_count.scatter_update(
            tf.IndexedSlices(updates + tf.cast(enough, tf.float32), domains))
        self._move_overall(counts, mean, variance)

    def _move_overall(self, counts, mean, variance):
        """Row 0: the moments of the mixture of the batches so far, of which this is one."""
        enough = tf.reduce_sum(counts) >= 2
        share = tf.cast(counts, tf.float32)[:, None]
        share /= tf.maximum(tf.reduce_sum(share), 1.0)
        batch_mean = tf.reduce_sum(share * mean, axis=0)
        batch_variance = tf.reduce_sum(
            share * (variance + tf.square(mean - batch_mean)), axis=0)
        old_mean, old_variance = tf.gather(self.moving_mean, 0), tf.gather(
            self.moving_variance, 0)
        updates = tf.gather(self.moving_count, 0)
        keep = tf.where(enough, keep_rate(updates, self.momentum), 1.0)
        away = batch_mean - old_mean
        self.moving_mean.scatter_update(
            tf.IndexedSlices(old_mean + (1 - keep) * away, 0))
        self.moving_variance.scatter_update(tf.IndexedSlices(
            keep * (old_variance + (1 - keep) * tf.square(away))
            + (1 - keep) * batch_variance, 0))
        self.moving_count.scatter_update(
            tf.IndexedSlices(updates + tf.cast(enough, tf.float32), 0))

    def fold(self) -> None:
        """Makes one scale and one shift a domain of its moments and parameters."""
        mean, variance = self._averages(tf.range(self.num_domains))
        scale = self.domain_gamma * self.gamma * tf.math.rsqrt(variance + self.epsilon)
        self.folded = _Folded(
            tf.Variable(scale, trainable=False),
            tf.Variable(self.domain_beta + self.beta - mean * scale, trainable=False))

    def fold_into(self, dense: FoldedDense) -> None:
        """Moves what `fold` made into the dense layer behind, of which alone it is the input:

            W^T (s (x) z + t) + b = (s (x) W)^T z + (W^T t + b)

        for every domain, so that this layer costs nothing.

        Args:
            dense: of that layer; it is changed.
        """
        scale, shift = (tf.cast(each, dense.kernel.dtype)
                        for each in (self.folded.scale, self.folded.shift))
        dense.bias.assign_add(tf.linalg.matvec(dense.kernel, shift, transpose_a=True))
        dense.kernel.assign(dense.kernel * scale[:, :, None])
        self.folded = _FoldedAway()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'momentum': self.momentum, 'epsilon': self.epsilon}

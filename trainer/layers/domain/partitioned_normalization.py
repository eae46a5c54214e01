"""Partitioned normalization (STAR 3.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.basic.moving_moments import moving_update, unbiased
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer, FoldedDense
from trainer.layers.domain.normalize import normalize


@dataclass(eq=False)
class _FoldedScale:
    """Scale and shift of every domain, [num_domains, units]."""

    scale: tf.Variable
    shift: tf.Variable


@dataclass(eq=False)
class _FoldedIntoDense:
    """The dense layer that follows has the scale and shift in its weights."""


@keras.utils.register_keras_serializable('mdctr')
class PartitionedNormalization(DomainLayer):
    """Batch normalization with moments, scale and bias of each domain.

    STAR, equations 3 (training, with the moments mu, sigma^2 of the domain's rows in the
    batch) and 4 (inference, with the domain's moving averages E_p, Var_p):

        z' = (gamma gamma_p) (z - mu) / sqrt(sigma^2 + epsilon) + (beta + beta_p)

    Where the paper leaves a choice:

    * A domain with fewer than two rows in a training batch has no variance: its row is
      normalized by the moving averages and does not change them.
    * Var_p follows the unbiased variance, n / (n - 1) times sigma^2, and a batch counts by its
      rows n. In mixed batches a domain may have few rows, of which sigma^2 is too small on
      average: half the variance for n = 2.
    * A domain that no batch has shown, 0 among them, has no averages and uses row 0, which
      follows the rows of all domains. So Var_0 includes the variance between domains.
    * The averages start with the first batch and move faster at first (`moving_update`).

    Example:

    >>> layer = PartitionedNormalization(num_domains=3, epsilon=0.0)
    >>> rows = tf.constant([[1.0], [3.0], [10.0], [30.0]])
    >>> layer(rows, tf.constant([1, 1, 2, 2]), training=True).numpy().tolist()
    [[-1.0], [1.0], [-1.0], [1.0]]
    >>> layer.moving_mean[1:].numpy().tolist()
    [[2.0], [20.0]]

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.
        momentum: Momentum of the moving averages.
        epsilon: Constant added to variances.

    Attributes:
        moving_count: Effective number of rows behind each domain's averages, [num_domains]; 0
            for a domain without averages. (Checkpoints of earlier versions counted batches.)

    Shapes: inputs [batch, units] to the same.
    """

    def __init__(
        self, num_domains: int, momentum: float = 0.99, epsilon: float = 1e-3, **kwargs: Any
    ):
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
        self.moving_mean = self.add_domain_weight(
            'moving_mean', shape, initializer='zeros', **state
        )
        self.moving_variance = self.add_domain_weight(
            'moving_variance', shape, initializer='ones', **state
        )
        self.moving_count = self.add_domain_weight(
            'moving_count', (), initializer='zeros', **state
        )
        super().build(input_shape)

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        if not training and isinstance(self.folded, _FoldedIntoDense):
            return inputs
        values = tf.cast(inputs, tf.float32)
        if training:
            outputs = self._normalize_by_batch(values, domains)
        else:
            scale, shift = self._scale_and_shift(domains)
            outputs = values * domains.broadcast(scale) + domains.broadcast(shift)
        return tf.cast(outputs, inputs.dtype)

    def parameters(self, domains: DomainBatch) -> tuple[tf.Tensor, tf.Tensor]:
        """gamma gamma_p and beta + beta_p of the present domains, [present, units] each."""
        return (
            domains.gather(self.domain_gamma) * self.gamma,
            domains.gather(self.domain_beta) + self.beta,
        )

    def averages(self, domains: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and variance [domains, units] by which inference normalizes these domains."""
        known = tf.gather(self.moving_count, domains) > 0
        source = tf.where(known, domains, 0)
        return tf.gather(self.moving_mean, source), tf.gather(self.moving_variance, source)

    def update_averages(
        self, domains: DomainBatch, rows: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
    ) -> None:
        """Moves the averages by a batch.

        Args:
            domains: Domains of the batch's rows.
            rows: Number of rows of each present domain, int32 [present].
            mean: Mean of these rows, [present, units].
            variance: Mean squared deviation of these rows, [present, units].
        """
        rows = tf.cast(rows, tf.float32)
        self._update_overall(rows, mean, variance)
        # Row 0 is not the average of a domain.
        present = domains.present_domains
        seen_rows = tf.where(present > 0, rows, 0.0)
        share, total = moving_update(
            tf.gather(self.moving_count, present), seen_rows, self.momentum
        )
        variance = unbiased(variance, rows[:, None])
        for average, values in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old = tf.gather(average, present)
            moved = old + share[:, None] * (values - old)
            average.scatter_update(tf.IndexedSlices(moved, present))
        self.moving_count.scatter_update(tf.IndexedSlices(total, present))

    def _normalize_by_batch(self, values: tf.Tensor, domains: DomainBatch) -> tf.Tensor:
        outputs, mean, variance = normalize(
            values,
            *self.parameters(domains),
            domains,
            self.averages(domains.present_domains),
            self.epsilon,
        )
        self.update_averages(domains, domains.counts(values), mean, variance)
        return outputs

    def _scale_and_shift(self, domains: DomainBatch) -> tuple[tf.Tensor, tf.Tensor]:
        """Equation 4 as z' = scale z + shift, [present, units] each."""
        if self.folded is not None:
            return domains.gather(self.folded.scale), domains.gather(self.folded.shift)
        gamma, beta = self.parameters(domains)
        mean, variance = self.averages(domains.present_domains)
        scale = gamma * tf.math.rsqrt(variance + self.epsilon)
        return scale, beta - mean * scale

    def _update_overall(self, rows: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Moves row 0, the moments of the mixture of all batches so far.

        The variance of a mixture is that within its parts, here the batch's mean squared
        deviation, and that between their means. Together they are unbiased.
        """
        total = tf.reduce_sum(rows)
        weight = (rows / tf.maximum(total, 1.0))[:, None]
        batch_mean = tf.reduce_sum(weight * mean, axis=0)
        batch_variance = tf.reduce_sum(
            weight * (variance + tf.square(mean - batch_mean)), axis=0
        )
        share, count = moving_update(tf.gather(self.moving_count, 0), total, self.momentum)
        old_mean = tf.gather(self.moving_mean, 0)
        old_variance = tf.gather(self.moving_variance, 0)
        difference = batch_mean - old_mean
        new_variance = (1 - share) * (
            old_variance + share * tf.square(difference)
        ) + share * batch_variance
        self.moving_mean.scatter_update(tf.IndexedSlices(old_mean + share * difference, 0))
        self.moving_variance.scatter_update(tf.IndexedSlices(new_variance, 0))
        self.moving_count.scatter_update(tf.IndexedSlices(count, 0))

    def fold(self) -> None:
        """Computes the scale and shift of every domain once."""
        domains = DomainBatch(tf.range(self.num_domains), self.num_domains)
        scale, shift = self._scale_and_shift(domains)
        self.folded = _FoldedScale(
            tf.Variable(scale, trainable=False), tf.Variable(shift, trainable=False)
        )

    def fold_into(self, dense: FoldedDense) -> None:
        """Moves the folded scale s and shift t into the dense layer that follows:

            W^T (s (x) z + t) + b = (s (x) W)^T z + (W^T t + b)

        for every domain, so that this layer costs nothing.

        Args:
            dense: Folded weights of the only layer that reads this layer's outputs; changed.
        """
        dtype = dense.kernel.dtype
        scale, shift = tf.cast(self.folded.scale, dtype), tf.cast(self.folded.shift, dtype)
        dense.bias.assign_add(tf.linalg.matvec(dense.kernel, shift, transpose_a=True))
        dense.kernel.assign(dense.kernel * scale[:, :, None])
        self.folded = _FoldedIntoDense()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'momentum': self.momentum, 'epsilon': self.epsilon}

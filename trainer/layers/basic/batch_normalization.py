"""Batch normalization over the rows of all domains, the baseline of STAR 3.3."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.basic.moving_moments import moving_update, unbiased
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.normalize import normalize
from trainer.layers.earlier_names import registered_earlier_as


@registered_earlier_as('BatchNormalization')
@keras.utils.register_keras_serializable('mdctr')
class WarmUpBatchNormalization(keras.layers.Layer):
    """Batch normalization (STAR, equations 1 and 2), shared by all domains.

        z' = gamma (z - mu) / sqrt(sigma^2 + epsilon) + beta

    with the batch's moments in training and moving averages in inference. It differs from
    `PartitionedNormalization` only in not being partitioned, and from Keras's layer in its
    moving averages: they start with the first batch instead of (0, 1), move faster at first
    (`moving_update`), and follow the unbiased variance. A batch of fewer than two rows is
    normalized by the averages and does not change them.

    Example:

    >>> layer = WarmUpBatchNormalization(epsilon=0.0)
    >>> layer(tf.constant([[1.0], [3.0]]), training=True).numpy().tolist()
    [[-1.0], [1.0]]
    >>> layer.moving_mean.numpy().tolist(), layer.moving_variance.numpy().tolist()
    ([2.0], [2.0])

    Args:
        momentum: Momentum of the moving averages.
        epsilon: Constant added to variances.

    Shapes: inputs [batch, units] to the same. The domain is ignored.
    """

    def __init__(self, momentum: float = 0.99, epsilon: float = 1e-3, **kwargs: Any):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = (input_shape[-1],)
        exact = {'dtype': tf.float32, 'experimental_autocast': False}
        self.gamma = self.add_weight('gamma', shape, initializer='ones', **exact)
        self.beta = self.add_weight('beta', shape, initializer='zeros', **exact)
        state = {**exact, 'trainable': False, 'aggregation': tf.VariableAggregation.MEAN}
        self.moving_mean = self.add_weight('moving_mean', shape, initializer='zeros', **state)
        self.moving_variance = self.add_weight(
            'moving_variance', shape, initializer='ones', **state
        )
        self.moving_count = self.add_weight('moving_count', (), initializer='zeros', **state)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, domain: Any = None, training: bool = False) -> tf.Tensor:
        values = tf.cast(inputs, tf.float32)
        averages = tf.identity(self.moving_mean), tf.identity(self.moving_variance)
        if not training:
            mean, variance = averages
            scale = self.gamma * tf.math.rsqrt(variance + self.epsilon)
            return tf.cast(values * scale + (self.beta - mean * scale), inputs.dtype)
        all_rows = DomainBatch(tf.constant(0), 1)
        outputs, mean, variance = normalize(
            values, self.gamma[None], self.beta[None], all_rows, averages, self.epsilon
        )
        rows = tf.cast(tf.shape(values)[0], tf.float32)
        share, total = moving_update(self.moving_count, rows, self.momentum)
        variance = unbiased(variance[0], rows)
        self.moving_mean.assign(averages[0] + share * (mean[0] - averages[0]))
        self.moving_variance.assign(averages[1] + share * (variance - averages[1]))
        self.moving_count.assign(total)
        return tf.cast(outputs, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'momentum': self.momentum, 'epsilon': self.epsilon}

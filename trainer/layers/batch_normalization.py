"""Batch normalization over the rows of all domains, the baseline of STAR 3.3."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_rows import DomainRows
from trainer.layers.moving_moments import keep_rate
from trainer.layers.normalize import normalize


@keras.utils.register_keras_serializable('mdctr')
class BatchNormalization(keras.layers.Layer):
    """Batch normalization (STAR, equations 1 and 2), the same for every domain.

        z' = gamma (z - mu) / sqrt(sigma^2 + epsilon) + beta

    with the batch's moments in training and moving averages in inference. Unlike Keras's
    layer its averages start with the first batch instead of (0, 1), as those of
    `PartitionedNormalization` do, so that the two differ in the partition alone; and a batch
    of fewer than two rows is normalized by the averages and does not move them.

    Args:
        momentum: of the moving averages.
        epsilon: added to variances.

    Shapes: inputs [batch, units] to the same.
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
        state = {**exact, 'trainable': False,
                 'aggregation': tf.VariableAggregation.MEAN}
        self.moving_mean = self.add_weight('moving_mean', shape, initializer='zeros', **state)
        self.moving_variance = self.add_weight('moving_variance', shape, initializer='ones',
                                               **state)
        self.moving_count = self.add_weight('moving_count', (), initializer='zeros', **state)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, domain: Any = None, training: bool = False) -> tf.Tensor:
        values = tf.cast(inputs, tf.float32)
        averages = tf.identity(self.moving_mean), tf.identity(self.moving_variance)
        if not training:
            mean, variance = averages
            scale = self.gamma * tf.math.rsqrt(variance + self.epsilon)
            return tf.cast(values * scale + (self.beta - mean * scale), inputs.dtype)
        everything = DomainRows(tf.constant(0), 1)
        outputs, mean, variance = normalize(
            values, self.gamma[None], self.beta[None], everything, averages, self.epsilon)
        enough = tf.shape(values)[0] >= 2
        keep = tf.where(enough, keep_rate(self.moving_count, self.momentum), 1.0)
        self.moving_mean.assign(keep * averages[0] + (1 - keep) * mean[0])
        self.moving_variance.assign(keep * averages[1] + (1 - keep) * variance[0])
        self.moving_count.assign_add(tf.cast(enough, tf.float32))
        return tf.cast(outputs, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'momentum': self.momentum, 'epsilon': self.epsilon}

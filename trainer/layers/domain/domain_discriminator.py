"""The adversarial domain discriminator of MulANN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.basic.gradient_reversal import reverse_gradient
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_layer import DomainLayer

_STEEPNESS = 10.0


@keras.utils.register_keras_serializable('mdctr')
class DomainDiscriminator(DomainLayer):
    """Adversarial classifier of the domain, whose reversed gradient makes the representation
    domain-invariant.

    MulANN (Schoenauer-Sebag et al. 2019), the domain term of the loss: with the discriminator
    D over the shared representation h(x), the model's loss gets

        L_D = - mean over rows of log D(h(x))_p        for the row's domain p

    which D minimizes and, through a reversed gradient of strength lambda, h maximizes. lambda
    grows with the training steps s as in Ganin et al. (2016), so that an untrained
    discriminator does not disturb h:

        lambda(s) = strength (2 / (1 + exp(-10 s / ramp_steps)) - 1)

    MulANN's other term concerns classes that are labelled in one domain but not in another;
    clicks are labelled in all, so it is zero here.

    Rows of unseen domains have no class and are ignored. Nothing is computed at inference.
    Use mixed batches: with batches of one domain, the discriminator only learns which domain
    the last batch had.

    Example:

    >>> layer = DomainDiscriminator(num_domains=3, hidden_units=[4])
    >>> loss = layer(tf.ones([2, 8]), tf.constant([1, 2]), training=True)
    >>> loss.shape, len(layer.losses)
    (TensorShape([]), 1)

    Args:
        num_domains: Number of domains, including row 0 for unseen ones.
        hidden_units: Widths of the ReLU layers of D.
        strength: Limit of lambda.
        ramp_steps: Number of steps in which lambda approaches its limit.

    Shapes: inputs [batch, c] to L_D, a scalar, which is added to the model's losses.
    """

    def __init__(
        self,
        num_domains: int,
        hidden_units: Sequence[int] = (64,),
        strength: float = 0.1,
        ramp_steps: int = 1000,
        **kwargs: Any,
    ):
        super().__init__(num_domains, **kwargs)
        self.hidden_units = list(hidden_units)
        self.strength, self.ramp_steps = strength, ramp_steps
        self.hidden = [
            keras.layers.Dense(units, activation='relu', name=f'hidden_{i}')
            for i, units in enumerate(hidden_units)
        ]

    def build(self, input_shape: tf.TensorShape) -> None:
        width = input_shape[-1]
        for layer in self.hidden:
            layer.build(tf.TensorShape([None, width]))
            width = layer.units
        limit = math.sqrt(6.0 / (width + self.num_domains))
        self.domain_kernel = self.add_domain_weight(
            'kernel', (width,), initializer=keras.initializers.RandomUniform(-limit, limit)
        )
        self.domain_bias = self.add_domain_weight('bias', (), initializer='zeros')
        self.steps = self.add_weight(
            'steps',
            (),
            dtype=tf.float32,
            initializer='zeros',
            trainable=False,
            experimental_autocast=False,
        )
        super().build(input_shape)

    def call(
        self, inputs: tf.Tensor, domain: tf.Tensor | DomainBatch, training: bool = False
    ) -> tf.Tensor:
        if isinstance(domain, DomainBatch):
            return self.compute(inputs, domain, training)
        domains = DomainBatch(tf.convert_to_tensor(domain), self.num_domains)
        return self.compute(domains.sort(inputs), domains, training)

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        if not training or self.num_domains == 1:
            return tf.zeros([], tf.float32)
        hidden = reverse_gradient(inputs, self.reversal_strength())
        self.steps.assign_add(1.0)
        for layer in self.hidden:
            hidden = layer(hidden)
        logits = tf.matmul(hidden, self.domain_kernel[1:], transpose_b=True)
        logits = tf.cast(logits + self.domain_bias[1:], tf.float32)
        loss = self._cross_entropy(logits, domains)
        self.add_loss(loss)
        return loss

    def reversal_strength(self) -> tf.Tensor:
        """Strength lambda of the next step."""
        progress = self.steps / self.ramp_steps
        return self.strength * (2.0 / (1.0 + tf.exp(-_STEEPNESS * progress)) - 1.0)

    def _cross_entropy(self, logits: tf.Tensor, domains: DomainBatch) -> tf.Tensor:
        domain = tf.broadcast_to(domains.domain, tf.shape(logits)[:1])
        known = tf.cast(domain > 0, tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tf.maximum(domain - 1, 0), logits=logits
        )
        return tf.math.divide_no_nan(tf.reduce_sum(known * losses), tf.reduce_sum(known))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'hidden_units': self.hidden_units,
            'strength': self.strength,
            'ramp_steps': self.ramp_steps,
        }

"""The adversarial domain discriminator of MulANN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.domain_rows import DomainRows
from trainer.layers.gradient_reversal import reverse_gradient

_STEEPNESS = 10.0


@keras.utils.register_keras_serializable('mdctr')
class DomainDiscriminator(DomainLayer):
    """Learns to tell the rows' domains apart, and their representation to hide them.

    MulANN (Schoenauer-Sebag et al. 2019), the domain term of the loss: with the discriminator
    D over the shared representation h(x), the model's loss gets

        L_D = - mean over rows of log D(h(x))_p        p being the row's domain

    which D lowers and, through a reversed gradient of the strength lambda, h raises. lambda
    grows with the training steps s as Ganin et al. (2016) have it, so that h is not troubled
    by a discriminator that knows nothing yet:

        lambda(s) = strength (2 / (1 + exp(-10 s / ramp_steps)) - 1)

    MulANN's other term is about classes that are labelled in one domain and not in another;
    clicks are labelled in all, so it is zero here.

    Rows of unseen domains have no class and do not count. In inference nothing is computed.
    Batches of one domain make the discriminator chase the domain of the last batch: it wants
    mixed ones.

    Args:
        num_domains: the domains, and in row 0 the unseen ones.
        hidden_units: of the ReLU layers of D.
        strength: what lambda grows to.
        ramp_steps: over how many steps.

    Shapes: inputs [batch, c] to L_D, a scalar, which is added to the model's losses.
    """

    def __init__(self, num_domains: int, hidden_units: Sequence[int] = (64,),
                 strength: float = 0.1, ramp_steps: int = 1000, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.hidden_units = list(hidden_units)
        self.strength, self.ramp_steps = strength, ramp_steps
        self.hidden = [keras.layers.Dense(units, activation='relu', name=f'hidden_{i}')
                       for i, units in enumerate(hidden_units)]

    def build(self, input_shape: tf.TensorShape) -> None:
        width = input_shape[-1]
        for layer in self.hidden:
            layer.build(tf.TensorShape([None, width]))
            width = layer.units
        limit = math.sqrt(6.0 / (width + self.num_domains))
        self.domain_kernel = self.add_domain_weight(
            'kernel', (width,), initializer=keras.initializers.RandomUniform(-limit, limit))
        self.domain_bias = self.add_domain_weight('bias', (), initializer='zeros')
        self.steps = self.add_weight('steps', (), dtype=tf.float32, initializer='zeros',
                                     trainable=False, experimental_autocast=False)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, domain: tf.Tensor | DomainRows,
             training: bool = False) -> tf.Tensor:
        rows = domain if isinstance(domain, DomainRows) else DomainRows(
            tf.convert_to_tensor(domain), self.num_domains)
        return self.compute(rows.sort(inputs) if rows is not domain else inputs, rows, training)

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        if not training or self.num_domains == 1:
            return tf.zeros([], tf.float32)
        hidden = reverse_gradient(inputs, self.reversal())
        self.steps.assign_add(1.0)
        for layer in self.hidden:
            hidden = layer(hidden)
        logits = tf.matmul(hidden, self.domain_kernel[1:], transpose_b=True)
        loss = self._cross_entropy(tf.cast(logits + self.domain_bias[1:], tf.float32), rows)
        self.add_loss(loss)
        return loss

    def reversal(self) -> tf.Tensor:
        """lambda of the next step."""
        return self.strength * (
            2.0 / (1.0 + tf.exp(-_STEEPNESS * self.steps / self.ramp_steps)) - 1.0)

    def _cross_entropy(self, logits: tf.Tensor, rows: DomainRows) -> tf.Tensor:
        domain = tf.broadcast_to(rows.domain, tf.shape(logits)[:1])
        known = tf.cast(domain > 0, tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tf.maximum(domain - 1, 0), logits=logits)
        return tf.math.divide_no_nan(tf.reduce_sum(known * losses), tf.reduce_sum(known))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'hidden_units': self.hidden_units,
                'strength': self.strength, 'ramp_steps': self.ramp_steps}

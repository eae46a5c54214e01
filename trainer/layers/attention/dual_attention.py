"""DASL's attention over a user's clicks in two domains."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.attention.multi_head_attention import masked_softmax
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.domain.domain_layer import DomainLayer


@keras.utils.register_keras_serializable('mdctr')
class DualAttention(DomainLayer):
    """Attention of an item to the user's clicks in both domains.

    DASL (Li et al. 2021, dual attention), for a row of domain p with the item t:

        s_j = w_p^T tanh(W_p h_j + U_p t + b_p)        a = sum_j softmax(s)_j h_j

    over the states h_j of the recurrent networks of both domains together, so that the clicks
    of one are weighed against those of the other. Each domain has its own weights. A row
    without clicks gives zeros.

    The authors' code differs in two points: its scores do not depend on the item t (there is
    no U_p t), and its sum has only the states of the row's own domain, although the softmax
    is over those of both.

    Example:

    >>> layer = DualAttention(units=4, num_domains=3)
    >>> states, target = tf.ones([2, 5, 8]), tf.ones([2, 6])
    >>> layer((states, target, tf.ones([2, 5], tf.bool)), tf.constant([1, 2])).shape
    TensorShape([2, 8])

    Args:
        units: Height of W_p and U_p.
        num_domains: Number of domains, including row 0 for unseen ones.

    Shapes: states [batch, length, dim], target [batch, any] and mask [batch, length] to
    [batch, dim].
    """

    def __init__(self, units: int, num_domains: int, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.units = units
        self.of_state = DomainDense(units, num_domains, name='of_state')
        self.of_target = DomainDense(units, num_domains, name='of_target')
        self.score = DomainDense(1, num_domains, name='score')

    def compute(
        self,
        inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
        domains: DomainBatch,
        training: bool,
    ) -> tf.Tensor:
        states, target, mask = inputs
        batch, length = tf.shape(states)[0], tf.shape(states)[1]
        state_domains = domains
        if not domains.single_domain:
            state_domains = DomainBatch(tf.repeat(domains.domain, length), self.num_domains)

        def for_every_state(layer: DomainDense, values: tf.Tensor) -> tf.Tensor:
            flat = tf.reshape(values, [batch * length, values.shape[2]])
            outputs = layer(flat, state_domains, training=training)
            return tf.reshape(outputs, [batch, length, layer.units])

        hidden = tf.tanh(
            for_every_state(self.of_state, states)
            + self.of_target(target, domains, training=training)[:, None, :]
        )
        scores = tf.squeeze(for_every_state(self.score, hidden), axis=2)
        weights = masked_softmax(scores, mask)
        return tf.reduce_sum(weights[:, :, None] * states, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units}

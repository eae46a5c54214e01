"""DASL's attention over a user's clicks in two domains."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_dense import DomainDense
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.domain_rows import DomainRows
from trainer.layers.multi_head import masked_softmax


@keras.utils.register_keras_serializable('mdctr')
class DualAttention(DomainLayer):
    """What a user's clicks in both domains say about an item of one of them.

    DASL (Li et al. 2021, dual attention), for a row of domain p with the item t:

        s_j = w_p^T tanh(W_p h_j + U_p t + b_p)
        a = sum_j softmax(s)_j h_j

    over the states h_j of the recurrent networks of both domains together, so that the clicks
    of either are weighed against those of the other. Each domain weighs them in its own way.
    A row without clicks gives zeros.

    Args:
        units: the height of W_p and U_p.
        num_domains: the domains, and in row 0 the unseen ones.

    Shapes: states [batch, length, dim], target [batch, any], mask [batch, length] to [batch,
    dim].
    """

    def __init__(self, units: int, num_domains: int, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.units = units
        self.of_state = DomainDense(units, num_domains, name='of_state')
        self.of_target = DomainDense(units, num_domains, name='of_target')
        self.score = DomainDense(1, num_domains, name='score')

    def compute(self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor], rows: DomainRows,
                training: bool) -> tf.Tensor:
        states, target, mask = inputs
        batch, length = tf.shape(states)[0], tf.shape(states)[1]
        each = rows if rows.single else DomainRows(tf.repeat(rows.domain, length),
                                                   self.num_domains)

        def of_every_state(layer, values):
            flat = tf.reshape(values, [batch * length, values.shape[2]])
            return tf.reshape(layer(flat, each, training=training),
                              [batch, length, layer.units])
        hidden = tf.tanh(of_every_state(self.of_state, states)
                         + self.of_target(target, rows, training=training)[:, None, :])
        scores = tf.squeeze(of_every_state(self.score, hidden), axis=2)
        weights = masked_softmax(scores, mask)
        return tf.reduce_sum(weights[:, :, None] * states, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units}

"""MiNet's attention over the items that a user clicked."""

from __future__ import annotations

from typing import Any, NamedTuple

from trainer.keras import keras, tf
from trainer.layers.attention.multi_head_attention import masked_softmax


class ItemAttentionInputs(NamedTuple):
    """Inputs of `ItemAttention`.

    Attributes:
        clicked: r_i, embeddings of the clicked items, [batch, length, dim].
        target: t, the corresponding embedding of the row's item, [batch, dim].
        item: q, all features of the row's item, [batch, units].
        user: p, all features of the user, [batch, units].
    """

    clicked: tf.Tensor
    target: tf.Tensor
    item: tf.Tensor
    user: tf.Tensor


@keras.utils.register_keras_serializable('mdctr')
class ItemAttention(keras.layers.Layer):
    """User's short-term interest in one domain (MiNet, Ouyang et al. 2020: item-level
    attention).

        s_i = h^T relu(W [r_i, q, p, (M r_i) (x) t])        a = sum_i softmax(s)_i r_i

    over the clicked items r_i, with the row's item q, the user p, and t, the part of q that
    corresponds to r_i (the paper has q itself, as its r_i have all features of an item). M
    maps the source domain's items to the target's space and is of low rank, M = M_1 M_2;
    clicks in the target domain itself need no M. A row without clicks gives zeros.

    Example:

    >>> layer = ItemAttention(units=4, rank=2)
    >>> inputs = ItemAttentionInputs(
    ...     tf.ones([2, 5, 8]), tf.ones([2, 8]), tf.ones([2, 16]), tf.ones([2, 12])
    ... )
    >>> layer(inputs, tf.ones([2, 5], tf.bool)).shape
    TensorShape([2, 8])

    Args:
        units: Height of W.
        rank: Rank of M, the width between M_1 and M_2; 0 to omit M.

    Shapes: `ItemAttentionInputs` and mask [batch, length] to [batch, dim].
    """

    def __init__(self, units: int = 16, rank: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.rank = units, rank
        # W in two blocks: the part that differs between clicks, and the part that does not.
        self.of_click = keras.layers.Dense(units, use_bias=False, name='of_click')
        self.of_row = keras.layers.Dense(units, name='of_row')
        self.score = keras.layers.Dense(1, use_bias=False, name='score')

    def build(self, input_shape: ItemAttentionInputs) -> None:
        dim = input_shape[0][-1]
        if self.rank:
            self.map_down = self.add_weight(
                'map_down', (dim, self.rank), initializer='glorot_uniform'
            )
            self.map_up = self.add_weight(
                'map_up', (self.rank, dim), initializer='glorot_uniform'
            )
        super().build(input_shape)

    def call(self, inputs: ItemAttentionInputs, mask: tf.Tensor) -> tf.Tensor:
        """Computes the interest from the clicks for which `mask` is true."""
        clicked, target, item, user = inputs
        mapped = clicked
        if self.rank:
            mapped = tf.tensordot(tf.tensordot(clicked, self.map_down, 1), self.map_up, 1)
        clicks = tf.concat([clicked, mapped * target[:, None, :]], axis=2)
        row = self.of_row(tf.concat([item, user], axis=1))
        hidden = tf.nn.relu(self.of_click(clicks) + row[:, None, :])
        weights = masked_softmax(tf.squeeze(self.score(hidden), axis=2), mask)
        return tf.reduce_sum(weights[:, :, None] * clicked, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units, 'rank': self.rank}

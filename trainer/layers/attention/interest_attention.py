"""MiNet's weights of a user's interests."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf

_MAX_LOGIT = 10.0  # keeps exp finite whatever training does


@keras.utils.register_keras_serializable('mdctr')
class InterestAttention(keras.layers.Layer):
    """Weights of a user's interests by their relevance to the item (MiNet, Ouyang et al. 2020:
    interest-level attention).

        v_k = exp(g_k^T relu(V_k [q, z_1, ..., z_n]) + b_k)

    for the item q and the interests z_1 to z_n: the long-term one, and the short-term ones of
    the source and the target domain. As in the paper, the weights are not a softmax: several
    interests can be strong, or none. b_k is the weight of an interest for all items.

    Example:

    >>> layer = InterestAttention(units=4)
    >>> weighted = layer((tf.ones([2, 8]), [tf.ones([2, 3]), tf.ones([2, 5])]))
    >>> [interest.shape for interest in weighted]
    [TensorShape([2, 3]), TensorShape([2, 5])]

    Args:
        units: Height of each V_k.

    Shapes: item [batch, units] and a list of interests [batch, any] to a list of the interests
    multiplied by their weights.
    """

    def __init__(self, units: int = 16, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape: Any) -> None:
        item, interests = input_shape
        width = item[-1] + sum(shape[-1] for shape in interests)
        count = len(interests)
        self.kernel = self.add_weight(
            'kernel', (width, count * self.units), initializer='glorot_uniform'
        )
        self.scores = self.add_weight(
            'scores', (count, self.units), initializer='glorot_uniform'
        )
        self.bias = self.add_weight('bias', (count,), initializer='zeros')
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, list[tf.Tensor]]) -> list[tf.Tensor]:
        item, interests = inputs
        hidden = tf.nn.relu(tf.matmul(tf.concat([item, *interests], axis=1), self.kernel))
        hidden = tf.reshape(hidden, [-1, len(interests), self.units])
        logits = tf.reduce_sum(hidden * self.scores, axis=2) + self.bias
        weights = tf.exp(tf.minimum(logits, tf.cast(_MAX_LOGIT, logits.dtype)))
        return [interest * weights[:, k, None] for k, interest in enumerate(interests)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units}

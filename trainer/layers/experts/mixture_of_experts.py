"""Shared experts, the domains' gates, and their mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.basic.tower import DomainTower
from trainer.layers.domain.domain_batch import DomainBatch
from trainer.layers.domain.domain_dense import DomainDense
from trainer.layers.domain.domain_layer import DomainLayer
from trainer.layers.domain.shared_mean import glorot_per_matrix


@keras.utils.register_keras_serializable('mdctr')
class ExpertDense(keras.layers.Layer):
    """Dense layer of every expert, computed for every row.

        f_i(x) = phi(W_i^T x + b_i)

    for the experts i of MMoE and the shared ones of CGC.

    Example:

    >>> ExpertDense(8, experts=3)(tf.ones([2, 4])).shape
    TensorShape([3, 2, 8])

    Args:
        units: Width of each expert's output.
        experts: Number of experts.
        activation: phi, name of a Keras activation.

    Shapes: inputs [batch, c], or [experts, batch, c] if each expert has its own input, to
    [experts, batch, units].
    """

    def __init__(
        self, units: int, experts: int, activation: str | None = 'relu', **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.units, self.experts = units, experts
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: tf.TensorShape) -> None:
        self.kernel = self.add_weight(
            'kernel',
            (self.experts, input_shape[-1], self.units),
            initializer=glorot_per_matrix,
        )
        self.bias = self.add_weight('bias', (self.experts, 1, self.units), initializer='zeros')
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.activation(tf.matmul(inputs, self.kernel) + self.bias)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'units': self.units,
            'experts': self.experts,
            'activation': keras.activations.serialize(self.activation),
        }


@keras.utils.register_keras_serializable('mdctr')
class DomainGate(DomainLayer):
    """Weights of the experts for a row, by the gate of the row's domain.

        g^p(x) = softmax(W_g^p x)

    for a row x of domain p (MMoE, Ma et al. 2018, equation 7).

    Example:

    >>> gates = DomainGate(experts=3, num_domains=4)(tf.ones([2, 8]), tf.constant([1, 2]))
    >>> gates.shape
    TensorShape([2, 3])

    Args:
        experts: Number of experts.
        num_domains: Number of domains, including row 0 for unseen ones.
        hidden_units: Widths of ReLU layers before W_g, of which the paper has none.

    Shapes: inputs [batch, c] to [batch, experts], of which each row sums to 1.
    """

    def __init__(
        self, experts: int, num_domains: int, hidden_units: Sequence[int] = (), **kwargs: Any
    ):
        super().__init__(num_domains, **kwargs)
        self.experts, self.hidden_units = experts, list(hidden_units)
        self.hidden = DomainTower(self.hidden_units, num_domains, name='hidden')
        self.logits = DomainDense(experts, num_domains, name='logits')

    def compute(self, inputs: tf.Tensor, domains: DomainBatch, training: bool) -> tf.Tensor:
        hidden = self.hidden(inputs, domains, training=training)
        return tf.nn.softmax(self.logits(hidden, domains, training=training))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'experts': self.experts,
            'hidden_units': self.hidden_units,
        }


def mix_experts(gates: tf.Tensor, experts: tf.Tensor) -> tf.Tensor:
    """Weighted sum of each row's experts: f^p(x) = sum_i g^p(x)_i f_i(x) (MMoE, equation 6).

    Example:

    >>> experts = tf.constant([[[1.0, 2.0]], [[3.0, 4.0]]])
    >>> mix_experts(tf.constant([[0.5, 0.5]]), experts).numpy().tolist()
    [[2.0, 3.0]]

    Args:
        gates: Weights, [batch, experts].
        experts: Outputs of the experts, [experts, batch, units].

    Returns:
        [batch, units].
    """
    return tf.reduce_sum(tf.transpose(gates)[:, :, None] * experts, axis=0)

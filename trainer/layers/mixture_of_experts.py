"""Experts for all rows, the domains' gates, and their mixture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_dense import DomainDense
from trainer.layers.domain_layer import DomainLayer
from trainer.layers.domain_rows import DomainRows
from trainer.layers.shared_mean import own_in_every_row
from trainer.layers.tower import DomainTower


@keras.utils.register_keras_serializable('mdctr')
class ExpertDense(keras.layers.Layer):
    """A dense layer of every expert, computed for every row at once.

    f_i(x) = phi(W_i^T x + b_i), for the experts i of MMoE and the shared ones of CGC.

    Args:
        units: the width of each expert's output.
        experts: how many.
        activation: phi, a Keras activation's name.

    Shapes: inputs [batch, c], or [experts, batch, c] where each expert has its own input, to
    [experts, batch, units].
    """

    def __init__(self, units: int, experts: int, activation: str | None = 'relu',
                 **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.experts = units, experts
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: tf.TensorShape) -> None:
        self.kernel = self.add_weight(
            'kernel', (self.experts, input_shape[-1], self.units),
            initializer=own_in_every_row)
        self.bias = self.add_weight('bias', (self.experts, 1, self.units),
                                    initializer='zeros')
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.activation(tf.matmul(inputs, self.kernel) + self.bias)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units, 'experts': self.experts,
                'activation': keras.activations.serialize(self.activation)}


@keras.utils.register_keras_serializable('mdctr')
class DomainGate(DomainLayer):
    """How much each expert counts for a row, by the gate of the row's domain.

    MMoE (Ma et al. 2018), equation 7: g^p(x) = softmax(W_g^p x), for a row x of domain p.

    Args:
        experts: over how many the gate decides.
        num_domains: the domains, and in row 0 the unseen ones.
        hidden_units: of ReLU layers before W_g, none in the paper.

    Shapes: inputs [batch, c] to [batch, experts], each row's sum being 1.
    """

    def __init__(self, experts: int, num_domains: int, hidden_units: Sequence[int] = (),
                 **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.experts, self.hidden_units = experts, list(hidden_units)
        self.hidden = DomainTower(self.hidden_units, num_domains, name='hidden')
        self.logits = DomainDense(experts, num_domains, name='logits')

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        hidden = self.hidden(inputs, rows, training=training)
        return tf.nn.softmax(self.logits(hidden, rows, training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'experts': self.experts,
                'hidden_units': self.hidden_units}


def mix(gates: tf.Tensor, experts: tf.Tensor) -> tf.Tensor:
    """The experts of each row, weighted: f^p(x) = sum_i g^p(x)_i f_i(x) (MMoE, equation 6).

    Args:
        gates: [batch, experts].
        experts: [experts, batch, units].

    Returns:
        [batch, units].
    """
    return tf.reduce_sum(tf.transpose(gates)[:, :, None] * experts, axis=0)

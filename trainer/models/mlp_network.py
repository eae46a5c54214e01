"""What the architectures share that end in a multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from trainer.keras import keras, tf
from trainer.layers.dropout import Dropout
from trainer.models.base import CTRModel, Inputs


class FullyConnected(NamedTuple):
    """The layers of an MLP: `hidden`, each followed by its dropout, and `head`, the logit."""

    hidden: list[keras.layers.Dense]
    dropouts: list[Dropout]
    head: keras.layers.Dense

    @property
    def layers(self) -> list[keras.layers.Dense]:
        """The hidden layers and the head, in order."""
        return [*self.hidden, self.head]


class MLPNetwork(CTRModel):
    """An architecture whose network is hidden layers over `Inputs.flat` and a logit.

    CTNet (equation 4) adds a vector to what enters the activation of each:

        z_l = psi(W_l z_{l-1} + b_l + added_l)
    """

    def shareable(self) -> dict[str, keras.layers.Layer]:
        """The attentions over sequences whose output can come from another tower instead
        (CTNet 4.7), by their names in `Inputs.attended`."""
        return {}

    def fully_connected(self) -> FullyConnected:
        """The layers."""
        return FullyConnected(self.hidden, self.dropouts, self.head)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return tf.squeeze(self.levels(inputs.flat, training)[-1], axis=1)

    def levels(self, flat: tf.Tensor, training: bool,
               added: Callable[[int], tf.Tensor | None] = lambda level: None
               ) -> list[tf.Tensor]:
        """z_0, the input, z_1 to z_L, the outputs of the hidden layers, and the logit [batch,
        1].

        Args:
            flat: z_0, [batch, units].
            training: whether dropout is used.
            added: by l, from 1 to L + 1 for the logit; None for nothing.
        """
        hidden, dropouts, head = self.fully_connected()
        outputs = [flat]
        for level, layer in enumerate([*hidden, head], 1):
            values = _dense(layer, outputs[-1], added(level))
            if layer is not head:
                values = dropouts[level - 1](values, training=training)
            outputs.append(values)
        return outputs


def _dense(layer: keras.layers.Dense, values: tf.Tensor,
           added: tf.Tensor | None) -> tf.Tensor:
    if added is None:
        return layer(values)
    product = tf.nn.bias_add(tf.matmul(values, layer.kernel), layer.bias)
    return layer.activation(product + added)

"""Base class of the architectures that end in a multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from trainer.keras import keras, tf
from trainer.layers.basic.dropout import ResumableDropout
from trainer.models.base import CTRModel, Inputs


class FullyConnected(NamedTuple):
    """Layers of an MLP: `hidden`, each followed by its dropout, and `head`, the logit."""

    hidden: list[keras.layers.Dense]
    dropouts: list[ResumableDropout]
    head: keras.layers.Dense

    @property
    def layers(self) -> list[keras.layers.Dense]:
        """Hidden layers and head, in order."""
        return [*self.hidden, self.head]


class MLPNetwork(CTRModel):
    """Architecture whose network is hidden layers over `Inputs.flat` and a logit.

    Transfer models add a vector to the input of the activation of each layer (CTNet, equation
    4):

        z_l = psi(W_l z_{l-1} + b_l + added_l)
    """

    def shareable_attentions(self) -> dict[str, keras.layers.Layer]:
        """Attentions over sequences whose outputs another tower can provide (CTNet 4.7), by
        their names in `Inputs.attended`."""
        return {}

    def fully_connected(self) -> FullyConnected:
        """Layers of the MLP."""
        return FullyConnected(self.hidden, self.dropouts, self.head)

    def network(self, inputs: Inputs, training: bool) -> tf.Tensor:
        return tf.squeeze(self.layer_outputs(inputs.flat, training)[-1], axis=1)

    def layer_outputs(
        self,
        flat: tf.Tensor,
        training: bool,
        added: Callable[[int], tf.Tensor | None] = lambda level: None,
    ) -> list[tf.Tensor]:
        """Computes z_0, the input, z_1 to z_L, the outputs of the hidden layers, and the logit.

        Args:
            flat: z_0, [batch, units].
            training: Whether to apply dropout.
            added: Function of l, from 1 to L + 1 for the logit, that returns the added vectors,
                or None for none.

        Returns:
            L + 2 tensors, [batch, units_l]; the logit is [batch, 1].
        """
        hidden, dropouts, head = self.fully_connected()
        outputs = [flat]
        for level, layer in enumerate([*hidden, head], 1):
            values = _dense(layer, outputs[-1], added(level))
            if layer is not head:
                values = dropouts[level - 1](values, training=training)
            outputs.append(values)
        return outputs


def _dense(layer: keras.layers.Dense, values: tf.Tensor, added: tf.Tensor | None) -> tf.Tensor:
    if added is None:
        return layer(values)
    product = tf.nn.bias_add(tf.matmul(values, layer.kernel), layer.bias)
    return layer.activation(product + added)

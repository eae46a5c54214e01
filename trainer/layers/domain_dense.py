"""A dense layer of its own for every domain."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain_layer import FoldedDense
from trainer.layers.domain_rows import DomainRows
from trainer.layers.shared_mean import SharedMeanLayer, same_in_every_row


@keras.utils.register_keras_serializable('mdctr')
class DomainDense(SharedMeanLayer):
    """A dense layer a domain, nothing shared: towers, gates and domain-specific experts.

    For a row x of domain p:

        y = phi(W_p^T x + b_p)

    All domains start at the same weights. Rows of an unseen domain are scored with the mean
    of the domains' weights; in training, row 0 is a domain like any other.

    Args:
        units: the width of the output.
        num_domains: the domains, and in row 0 the unseen ones.
        activation: phi, a Keras activation's name.
        blocks: the units are so many independent layers side by side, which matters to their
            initialization alone.

    Shapes: inputs [batch, c] to [batch, units].
    """

    def __init__(self, units: int, num_domains: int, activation: str | None = None,
                 blocks: int = 1, **kwargs: Any):
        super().__init__(num_domains, **kwargs)
        self.units = units
        self.activation = keras.activations.get(activation)
        self.blocks = blocks

    def build(self, input_shape: tf.TensorShape) -> None:
        self.domain_kernel = self.add_domain_weight(
            'kernel', (input_shape[-1], self.units),
            initializer=same_in_every_row(self.blocks))
        self.domain_bias = self.add_domain_weight('bias', (self.units,), initializer='zeros')
        super().build(input_shape)

    def compute(self, inputs: tf.Tensor, rows: DomainRows, training: bool) -> tf.Tensor:
        if self.folded is not None and not training:
            outputs = rows.dense_of(inputs, self.folded.kernel,
                                    tf.cast(rows.take(self.folded.bias), inputs.dtype))
        elif training:
            outputs = rows.dense_of(inputs, self.domain_kernel, rows.take(self.domain_bias))
        else:
            outputs = rows.dense(inputs, self.take(rows, self.domain_kernel, training),
                                 self.take(rows, self.domain_bias, training))
        return self.activation(outputs)

    def fold(self) -> None:
        """Computes the mean of the domains' weights once."""
        self.folded = FoldedDense(self.with_shared_row(self.domain_kernel),
                                  self.with_shared_row(self.domain_bias))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), 'units': self.units, 'blocks': self.blocks,
                'activation': keras.activations.serialize(self.activation)}

"""The dense layer of APG, whose weights are generated."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch


@keras.utils.register_keras_serializable('mdctr')
class APGDense(keras.layers.Layer):
    """Dense layer of low rank, whose core is generated for each domain or row.

    Adaptive Parameter Generation (Yan et al. 2022; its low-rank parametrization with shared
    outer factors, evaluated from the input outwards), for an input x with the domain-aware
    embedding z:

        W = U S V        S = reshape(W_g z + b_g)        y = phi(U (S (V x)) + b)

    U and V are shared; S, [rank, rank], is generated. b_g starts at the identity, so that a
    layer starts as U V, and z = 0, an unseen domain, keeps the shared S = reshape(b_g).

    Example:

    >>> layer = APGDense(4, rank=2)
    >>> layer((tf.ones([5, 8]), tf.ones([5, 3])), None).shape  # an embedding for each row
    TensorShape([5, 4])
    >>> one_domain = DomainBatch(tf.constant(1), 2)
    >>> layer((tf.ones([5, 8]), tf.ones([1, 3])), one_domain).shape
    TensorShape([5, 4])

    Args:
        units: Width of the output.
        rank: Rank of W, at most the widths of input and output.
        activation: phi, name of a Keras activation.

    Shapes: x [batch, c] to [batch, units].
    """

    def __init__(
        self, units: int, rank: int = 32, activation: str | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.units, self.rank = units, rank
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: tuple[tf.TensorShape, tf.TensorShape]) -> None:
        inputs, context = (shape[-1] for shape in input_shape)
        self.core_size = rank = min(self.rank, inputs, self.units)
        self.inner = self.add_weight('inner', (inputs, rank), initializer='glorot_uniform')
        self.outer = self.add_weight('outer', (rank, self.units), initializer='glorot_uniform')
        self.core_kernel = self.add_weight(
            'core_kernel', (context, rank * rank), initializer='glorot_uniform'
        )
        self.core_bias = self.add_weight(
            'core_bias',
            (rank * rank,),
            initializer=lambda shape, dtype=None, **_: tf.reshape(
                tf.eye(rank, dtype=dtype), shape
            ),
        )
        self.bias = self.add_weight('bias', (self.units,), initializer='zeros')
        super().build(input_shape)

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor], domains: DomainBatch | None
    ) -> tf.Tensor:
        """Computes the layer's outputs.

        Args:
            inputs: x, [batch, c], and z: [present, dim], one for each present domain, or
                [batch, dim] if `domains` is None.
            domains: Domains of the rows, if z depends only on the domain.
        """
        values, vectors = inputs
        core = tf.reshape(
            tf.matmul(vectors, self.core_kernel) + self.core_bias,
            [-1, self.core_size, self.core_size],
        )
        inner = tf.matmul(values, self.inner)
        if domains is not None:
            inner = domains.dense(inner, core)
        else:
            inner = tf.squeeze(tf.matmul(inner[:, None, :], core), axis=1)
        return self.activation(tf.matmul(inner, self.outer) + self.bias)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'units': self.units,
            'rank': self.rank,
            'activation': keras.activations.serialize(self.activation),
        }

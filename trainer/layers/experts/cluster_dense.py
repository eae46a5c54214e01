"""The dense layer of AdaptDHM, whose weights depend on the row's cluster."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch


@keras.utils.register_keras_serializable('mdctr')
class ClusterDense(keras.layers.Layer):
    """Dense layer whose weights are the product of shared weights and the cluster's own.

    Multi-distribution network of AdaptDHM (Li et al. 2022), for a row x of cluster k and the
    product by entry (x):

        y = phi((W (x) W_k)^T x + b + b_k)

    It is `StarDense` with clusters, which a router finds, instead of domains, which are given.
    W_k starts at one and b_k at zero: every cluster starts as the shared layer.

    Example:

    >>> layer = ClusterDense(4, clusters=3, activation='relu')
    >>> layer(tf.ones([2, 8]), DomainBatch(tf.constant([0, 2]), 3)).shape
    TensorShape([2, 4])

    Args:
        units: Width of the output.
        clusters: Number of clusters.
        activation: phi, name of a Keras activation.

    Shapes: inputs [batch, c], sorted by cluster, to [batch, units].
    """

    def __init__(self, units: int, clusters: int, activation: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.clusters = units, clusters
        self.activation = keras.activations.get(activation)

    def build(self, input_shape: tf.TensorShape) -> None:
        shape = (input_shape[-1], self.units)
        self.kernel = self.add_weight('kernel', shape, initializer='glorot_uniform')
        self.bias = self.add_weight('bias', (self.units,), initializer='zeros')
        self.cluster_kernel = self.add_weight(
            'cluster_kernel', (self.clusters, *shape), initializer='ones'
        )
        self.cluster_bias = self.add_weight(
            'cluster_bias', (self.clusters, self.units), initializer='zeros'
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, clusters: DomainBatch) -> tf.Tensor:
        """Computes the layer's outputs.

        Args:
            inputs: x, [batch, c].
            clusters: Clusters of the rows, by which they are sorted.
        """
        kernel = clusters.gather(self.cluster_kernel) * self.kernel
        bias = clusters.gather(self.cluster_bias) + self.bias
        return self.activation(clusters.dense(inputs, kernel, bias))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            'units': self.units,
            'clusters': self.clusters,
            'activation': keras.activations.serialize(self.activation),
        }

"""Dot products of all pairs of vectors, by TensorFlow Recommenders."""

from __future__ import annotations

from typing import Any

from trainer.keras import keras, tf


def make_dot_interaction(name: str = 'interaction') -> keras.layers.Layer:
    """Makes TFRS's `DotInteraction`, to be called by `dot_products`."""
    import tensorflow_recommenders as tfrs  # after trainer.keras has selected Keras 2

    # Which products are of distinct pairs is known in advance; TFRS would find out by a mask in
    # every step, which takes longer than the products.
    layer: Any = tfrs.layers.feature_interaction.DotInteraction(skip_gather=True, name=name)
    return layer


def dot_products(interaction: keras.layers.Layer, vectors: list[tf.Tensor]) -> tf.Tensor:
    """Dot products v_i^T v_j of all pairs j < i (DLRM, Naumov et al. 2019).

    Example:

    >>> vectors = [tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 4.0]])]
    >>> dot_products(make_dot_interaction(), vectors).numpy().tolist()
    [[11.0]]

    Args:
        interaction: Layer of `make_dot_interaction`.
        vectors: At least two tensors [batch, dim].

    Returns:
        [batch, pairs], ordered by i, then by j.
    """
    count = len(vectors)
    pairs = [i * count + j for i in range(count) for j in range(i)]
    return tf.gather(interaction(vectors), pairs, axis=1)

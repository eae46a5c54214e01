"""An MLP without the neurons that are pruned for a domain, for serving."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.keras import keras, tf
from trainer.layers.domain.domain_batch import DomainBatch


class PackedNetwork:
    """MLP computed only over the neurons that are kept, if a domain's factors are fixed.

    With pi^l(d) known, h^{l+1} = phi(W^l (h^l (x) pi^l(d)) + b^l) of AdaSparse's equation 2
    needs from W^l only the rows of the neurons that pi^l keeps, multiplied by their factors,
    and the columns of those that pi^{l+1} keeps: if a fraction r is pruned everywhere,
    (1 - r)^2 of the multiplications. The first layer reads all inputs, since selecting some
    costs more than it saves.

    Domains are padded with zeros to the one that keeps most. Every domain has its own
    matrices, so mixed rows go through them domain by domain.

    Example:

    >>> network = PackedNetwork(
    ...     kernels=[np.ones([1, 2, 2]), np.ones([1, 2, 1])],
    ...     biases=[np.zeros([1, 2]), np.zeros([1, 1])],
    ...     factors=[np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]])],
    ...     activation='relu',
    ... )
    >>> network(tf.ones([1, 2]), DomainBatch(tf.constant(0), 1)).numpy().tolist()
    [[3.0]]
    >>> network.kernels[1].shape  # one of the two neurons is pruned
    TensorShape([1, 1, 1])

    Args:
        kernels: Kernels of the layers, [domains or 1, inputs, units].
        biases: Biases of the layers, [domains or 1, units].
        factors: pi of the layers' inputs, [domains, inputs].
        activation: phi of all layers but the last, name of a Keras activation.
    """

    def __init__(
        self,
        kernels: Sequence[NDArray[Any]],
        biases: Sequence[NDArray[Any]],
        factors: Sequence[NDArray[Any]],
        activation: str | None,
    ):
        self.activation = keras.activations.get(activation)
        self.kernels: list[tf.Variable] = []
        self.biases: list[tf.Variable] = []
        domains = len(factors[0])
        inputs = np.tile(np.arange(kernels[0].shape[1]), (domains, 1))
        for layer, (kernel, bias, pi) in enumerate(zip(kernels, biases, factors, strict=True)):
            kernel = np.broadcast_to(kernel, (domains, *kernel.shape[1:])) * pi[:, :, None]
            bias = np.broadcast_to(bias, (domains, bias.shape[1]))
            if layer + 1 < len(factors):
                outputs = _kept_indices(factors[layer + 1] > 0)
            else:
                outputs = np.tile(np.arange(bias.shape[1]), (domains, 1))
            self.kernels.append(_constant(_select(_select(kernel, inputs, 1), outputs, 2)))
            self.biases.append(_constant(_select(bias, outputs, 1)))
            inputs = outputs

    def __call__(self, values: tf.Tensor, domains: DomainBatch) -> tf.Tensor:
        """Computes the last layer's outputs [batch, units] of rows sorted by domain."""
        for layer, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            values = domains.dense(
                values, domains.gather(kernel), domains.gather(bias), training=False
            )
            if layer + 1 < len(self.kernels):
                values = self.activation(values)
        return values

    def cost_ratio(self, sizes: Sequence[int]) -> float:
        """Multiplications relative to those of layers of these widths, inputs first."""
        dense = sum(inputs * units for inputs, units in itertools.pairwise(sizes))
        return sum(int(np.prod(kernel.shape[1:])) for kernel in self.kernels) / dense


def _constant(values: NDArray[Any]) -> tf.Variable:
    return tf.Variable(values.astype(np.float32), trainable=False)


def _kept_indices(kept: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of the true entries of each row, padded with -1 to the longest."""
    width = max(int(kept.sum(axis=1).max()), 1)
    indices = np.full((len(kept), width), -1)
    for row, kept_row in zip(indices, kept, strict=True):
        found = np.flatnonzero(kept_row)
        row[: len(found)] = found
    return indices


def _select(values: NDArray[Any], indices: NDArray[np.intp], axis: int) -> NDArray[Any]:
    """Each domain's entries at its own indices along an axis; zeros at index -1."""
    padded = np.concatenate([values, np.zeros_like(values.take([0], axis))], axis)
    shape = [len(indices)] + [1] * (values.ndim - 1)
    shape[axis] = indices.shape[1]
    return np.take_along_axis(padded, indices.reshape(shape), axis)

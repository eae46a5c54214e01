"""An MLP from which each domain's pruned neurons are left out, for serving."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from trainer.keras import keras, tf
from trainer.layers.domain_rows import DomainRows


class PackedNetwork:
    """Dense products over the neurons that are kept, where a domain's factors are fixed.

    With pi^l(d) known, h^{l+1} = phi(W^l (h^l (x) pi^l(d)) + b^l) of AdaSparse's equation 2
    needs of W^l the rows of the neurons that pi^l keeps, times their factors, and the columns
    of those that pi^{l+1} keeps: with a share r pruned everywhere, (1 - r)^2 of the products.
    Of the first layer all inputs are read, since picking some costs more than it saves.

    Domains are padded with zeros to the one that keeps most. Every domain has matrices of its
    own, so mixed rows go through them domain by domain.

    Args:
        kernels: of each layer, [domains or 1, inputs, units].
        biases: of each layer, [domains or 1, units].
        factors: pi of each layer's inputs, [domains, inputs].
        activation: phi, of all layers but the last.
    """

    def __init__(self, kernels: Sequence[np.ndarray], biases: Sequence[np.ndarray],
                 factors: Sequence[np.ndarray], activation: str | None):
        self.activation = keras.activations.get(activation)
        self.kernels: list[tf.Variable] = []
        self.biases: list[tf.Variable] = []
        domains = len(factors[0])
        inputs = np.tile(np.arange(kernels[0].shape[1]), (domains, 1))
        for place, (kernel, bias, pi) in enumerate(zip(kernels, biases, factors, strict=True)):
            kernel = np.broadcast_to(kernel, (domains, *kernel.shape[1:])) * pi[:, :, None]
            bias = np.broadcast_to(bias, (domains, bias.shape[1]))
            outputs = (_places(factors[place + 1] > 0) if place + 1 < len(factors)
                       else np.tile(np.arange(bias.shape[1]), (domains, 1)))
            self.kernels.append(_constant(_pick(_pick(kernel, inputs, 1), outputs, 2)))
            self.biases.append(_constant(_pick(bias, outputs, 1)))
            inputs = outputs

    def __call__(self, values: tf.Tensor, rows: DomainRows) -> tf.Tensor:
        """[batch, inputs] sorted by domain to [batch, units] of the last layer."""
        for place, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            values = rows.dense(values, rows.take(kernel), rows.take(bias))
            if place + 1 < len(self.kernels):
                values = self.activation(values)
        return values

    def share(self, sizes: Sequence[int]) -> float:
        """Its products as a share of those of layers of these sizes, inputs first."""
        dense = sum(one * other for one, other in itertools.pairwise(sizes))
        return sum(int(np.prod(kernel.shape[1:])) for kernel in self.kernels) / dense


def _constant(values: np.ndarray) -> tf.Variable:
    return tf.Variable(values.astype(np.float32), trainable=False)


def _places(kept: np.ndarray) -> np.ndarray:
    """The places of the true entries of each row, padded with -1 to the longest."""
    width = max(int(kept.sum(axis=1).max()), 1)
    places = np.full((len(kept), width), -1)
    for row, mine in zip(places, kept, strict=True):
        found = np.flatnonzero(mine)
        row[:len(found)] = found
    return places


def _pick(values: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Each domain's entries at its own places along an axis; zeros at place -1."""
    padded = np.concatenate([values, np.zeros_like(values.take([0], axis))], axis)
    shape = [len(places)] + [1] * (values.ndim - 1)
    shape[axis] = places.shape[1]
    return np.take_along_axis(padded, places.reshape(shape), axis)

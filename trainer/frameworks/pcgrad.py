"""PCGrad."""

from __future__ import annotations

import numpy as np

from trainer.data.batching import Batch
from trainer.frameworks.core.gradient_step import Gradient, deduplicate_gradient, weighted_sum
from trainer.frameworks.core.multi_domain import MultiDomainFramework, mean_loss
from trainer.frameworks.core.order import random_generator
from trainer.keras import tf

_ORDER = 110


class PCGrad(MultiDomainFramework):
    """PCGrad: removes conflicts between the domains' gradients.

    Yu et al., Gradient Surgery for Multi-Task Learning, 2020, algorithm 1, with the domains as
    tasks. The gradient g_i of each domain of a step is projected onto the normal plane of every
    other gradient g_j that it conflicts with, in random order:

        g_i^PC <- g_i^PC - (g_i^PC . g_j / |g_j|^2) g_j     if g_i^PC . g_j < 0

    The gradient of the step is the sum of the g_i^PC.
    """

    def combine(self, batches: list[Batch], key: tuple[int, int]) -> tuple[tf.Tensor, Gradient]:
        losses, gradients = zip(*map(self.step.gradient, batches), strict=True)
        weights = project(
            inner_products(gradients), random_generator(self.config.seed, _ORDER, *key)
        ).sum(axis=0)
        return (
            mean_loss(list(losses), batches),
            deduplicate_gradient(weighted_sum(gradients, weights.astype(np.float32).tolist())),
        )


def project(products: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Projects gradients, given their inner products only.

    The inner products suffice because every g_i^PC is a linear combination of the g_j.

    Args:
        products: Inner products g_i . g_j, [n, n].
        generator: Random generator of the order of the other domains, for each domain.

    Returns:
        Coefficients, [n, n]: g_i^PC = sum_j coefficients[i, j] g_j.
    """
    count = len(products)
    coefficients = np.eye(count)
    for i in range(count):
        for j in generator.permutation([other for other in range(count) if other != i]):
            product = coefficients[i] @ products[:, j]
            if product < 0 and products[j, j] > 0:
                coefficients[i, j] -= product / products[j, j]
    return coefficients


def inner_products(gradients: tuple[Gradient, ...]) -> np.ndarray:
    """Returns the inner products g_i . g_j of gradients of all variables, float64 [n, n]."""
    products = np.zeros([len(gradients), len(gradients)])
    for parts in zip(*gradients, strict=True):
        rows = (
            _stack_sparse(parts)
            if isinstance(parts[0], tf.IndexedSlices)
            else tf.stack([tf.reshape(part, [-1]) for part in parts])
        )
        products += tf.matmul(rows, rows, transpose_b=True).numpy()
    return products


def _stack_sparse(gradients: tuple[tf.IndexedSlices, ...]) -> tf.Tensor:
    """Stacks sparse gradients as dense vectors over the union of their rows, [n, values]."""
    indices, positions = tf.unique(tf.concat([part.indices for part in gradients], axis=0))
    vectors, begin = [], 0
    for part in gradients:
        end = begin + part.indices.shape[0]
        rows = tf.math.unsorted_segment_sum(part.values, positions[begin:end], tf.size(indices))
        vectors.append(tf.reshape(rows, [-1]))
        begin = end
    return tf.stack(vectors)

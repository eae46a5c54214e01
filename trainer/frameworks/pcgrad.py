"""PCGrad."""

from __future__ import annotations

import numpy as np

from trainer.examples import Batch
from trainer.frameworks.gradient_step import Gradient, rows_once, total
from trainer.frameworks.grouped import Grouped, mean_loss
from trainer.frameworks.order import generator
from trainer.keras import tf

_ORDER = 110


class PCGrad(Grouped):
    """Yu et al., Gradient Surgery for Multi-Task Learning, 2020, algorithm 1, a domain a task.

    Each domain's gradient g_i of the step is projected onto the normal plane of every other
    one g_j that it conflicts with, in random order:

        g_i^PC <- g_i^PC - (g_i^PC . g_j / |g_j|^2) g_j     where g_i^PC . g_j < 0

    and the step's gradient is their sum.
    """

    def combine(self, batches: list[Batch], key: tuple[int, int]) -> tuple[tf.Tensor, Gradient]:
        losses, gradients = zip(*map(self.step.gradient, batches), strict=True)
        weights = project(inner_products(gradients),
                          generator(self.config.seed, _ORDER, *key)).sum(axis=0)
        return (mean_loss(list(losses), batches),
                rows_once(total(gradients, weights.astype(np.float32).tolist())))


def project(products: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """The projected gradients as combinations of the given ones.

    Every g_i^PC is a combination of the g_j, so that their inner products say all that the
    algorithm needs.

    Args:
        products: g_i . g_j, [n, n].
        draws: of the order of the other domains, for each one.

    Returns:
        Coefficients [n, n]: g_i^PC = sum over j of coefficients[i, j] g_j.
    """
    count = len(products)
    made = np.eye(count)
    for i in range(count):
        for j in draws.permutation([other for other in range(count) if other != i]):
            product = made[i] @ products[:, j]
            if product < 0 and products[j, j] > 0:
                made[i, j] -= product / products[j, j]
    return made


def inner_products(gradients: tuple[Gradient, ...]) -> np.ndarray:
    """g_i . g_j of gradients of all variables, [n, n], float64."""
    products = np.zeros([len(gradients), len(gradients)])
    for parts in zip(*gradients, strict=True):
        rows = _side_by_side(parts) if isinstance(parts[0], tf.IndexedSlices) else tf.stack(
            [tf.reshape(part, [-1]) for part in parts])
        products += tf.matmul(rows, rows, transpose_b=True).numpy()
    return products


def _side_by_side(parts: tuple[tf.IndexedSlices, ...]) -> tf.Tensor:
    """Gradients of rows as vectors over all the rows that any of them has."""
    numbers, places = tf.unique(tf.concat([part.indices for part in parts], axis=0))
    made, first = [], 0
    for part in parts:
        last = first + part.indices.shape[0]
        made.append(tf.reshape(tf.math.unsorted_segment_sum(
            part.values, places[first:last], tf.size(numbers)), [-1]))
        first = last
    return tf.stack(made)

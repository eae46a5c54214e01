"""Runs a computation only on rows of selected domains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.keras import tf
from trainer.layers.domain.domain_batch import DomainBatch


def compute_for_domains(
    domains: DomainBatch,
    numbers: list[int],
    inputs: Any,
    compute: Callable[[Any, DomainBatch], tf.Tensor],
) -> tf.Tensor:
    """Computes a value for each row of some domains; the others get 0, at no cost.

    Example:

    >>> domains = DomainBatch(tf.constant([1, 1, 2]), 3)
    >>> compute_for_domains(
    ...     domains, [-1, -1, 0], tf.constant([1.0, 2.0, 3.0]), lambda rows, domains: 10 * rows
    ... ).numpy().tolist()
    [0.0, 0.0, 30.0]

    Args:
        domains: Domains of the rows of the inputs.
        numbers: Number by which `compute` knows each domain, [num_domains]; -1 leaves the
            domain out, and the others ascend.
        inputs: Structure of tensors [batch, ...], sorted by domain.
        compute: Function of the selected rows of `inputs`, of which there may be none, and of
            the `DomainBatch` of their numbers; returns a value for each of these rows.

    Returns:
        Values of all rows, float32 [batch].
    """
    number = tf.gather(tf.constant(numbers, tf.int32), domains.domain)
    count, batch = max(numbers) + 1, tf.shape(tf.nest.flatten(inputs)[0])[0]
    if domains.single_domain:
        # All rows or none of them. Not a tf.cond, through which the gradients of the domains'
        # weights come back dense.
        size = tf.where(number >= 0, batch, 0)
        values = compute(
            tf.nest.map_structure(lambda tensor: tensor[:size], inputs),
            DomainBatch(number, count),
        )
        return tf.pad(tf.cast(values, tf.float32), [[0, batch - size]])
    places = tf.where(number >= 0)[:, 0]
    selected = tf.nest.map_structure(lambda tensor: tf.gather(tensor, places), inputs)
    values = compute(selected, DomainBatch(tf.gather(number, places), count))
    return tf.scatter_nd(
        places[:, None], tf.cast(values, tf.float32), tf.cast(batch, tf.int64)[None]
    )

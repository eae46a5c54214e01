"""Computing for some domains' rows what others need not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.keras import tf
from trainer.layers.domain_rows import DomainRows


def for_rows(rows: DomainRows, numbers: list[int], inputs: Any,
             compute: Callable[[Any, DomainRows], tf.Tensor]) -> tf.Tensor:
    """A value for each row of some domains, 0 for the others; nothing is computed for those.

    Args:
        rows: the domains of the inputs' rows.
        numbers: by domain, [num_domains], as what `compute` knows it; ascending where they are
            not -1, which leaves the domain out.
        inputs: a structure of tensors [batch, ...].
        compute: of the chosen rows' inputs, of which there may be none, and the `DomainRows`
            of their numbers, a value for each of them.

    Returns:
        float32 [batch].
    """
    number = tf.gather(tf.constant(numbers, tf.int32), rows.domain)
    count, batch = max(numbers) + 1, tf.shape(tf.nest.flatten(inputs)[0])[0]
    if rows.single:
        # All rows or none of them; not a tf.cond, through which the gradients of the domains'
        # weights come back dense.
        chosen = tf.where(number >= 0, batch, 0)
        values = compute(tf.nest.map_structure(lambda values: values[:chosen], inputs),
                         DomainRows(number, count))
        return tf.pad(tf.cast(values, tf.float32), [[0, batch - chosen]])
    places = tf.where(number >= 0)[:, 0]
    chosen = tf.nest.map_structure(lambda values: tf.gather(values, places), inputs)
    values = compute(chosen, DomainRows(tf.gather(number, places), count))
    return tf.scatter_nd(places[:, None], tf.cast(values, tf.float32),
                         tf.cast(batch, tf.int64)[None])

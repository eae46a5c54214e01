"""Moving averages of a layer's moments."""

from __future__ import annotations

from typing import NamedTuple

from trainer.keras import tf

WARM_UP = 3.0


class MovingUpdate(NamedTuple):
    """Weights of one update of a moving average.

    Attributes:
        share: Weight of the new value; the old average has 1 - share.
        rows: Effective number of rows behind the average after the update.
    """

    share: tf.Tensor
    rows: tf.Tensor


def moving_update(rows: tf.Tensor, new_rows: tf.Tensor, momentum: float) -> MovingUpdate:
    """Weighs a batch's moments by its rows.

    An average over c effective rows first forgets some of them and then takes the batch's n:

        d = min(momentum, 1 - 2 n / (3 c))        c' = d c + n        share = n / c'

    For batches of equal size, the share of update t = 0, 1, ... is 3 / (t + 3) until it has
    fallen to about 1 - momentum: the first batch sets the average, and a domain with few
    batches forgets its first ones, whose embeddings had hardly been trained, long before
    1 / (1 - momentum) of them have passed. Fewer than two rows have no variance and do not
    change the average.

    Example:

    >>> update = moving_update(tf.constant([0.0, 20.0]), tf.constant([10.0, 1.0]), 0.99)
    >>> update.share.numpy().round(2).tolist(), update.rows.numpy().tolist()
    ([1.0, 0.0], [10.0, 20.0])

    Args:
        rows: c, effective number of rows behind the average, float32.
        new_rows: n, number of rows of the batch, float32 of the same shape.
        momentum: Upper limit of d, the fraction of c that is kept.
    """
    enough = new_rows >= 2
    forgotten = (WARM_UP - 1) / WARM_UP * tf.math.divide_no_nan(new_rows, rows)
    kept = tf.clip_by_value(1 - forgotten, 0.0, momentum) * rows
    total = kept + new_rows
    share = tf.where(enough, tf.math.divide_no_nan(new_rows, total), 0.0)
    return MovingUpdate(share, tf.where(enough, total, rows))


def unbiased(variance: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Multiplies the mean squared deviation of n rows by n / (n - 1), which makes it an
    unbiased estimate of the variance.

    >>> unbiased(tf.constant([1.0, 1.0]), tf.constant([2.0, 5.0])).numpy().tolist()
    [2.0, 1.25]
    """
    return variance * (rows / tf.maximum(rows - 1, 1.0))

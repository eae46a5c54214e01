"""The mean of the weights at the ends of epochs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainer.keras import tf


class WeightAverage:
    """Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018:
    w_mean <- (n w_mean + w) / (n + 1), here at the end of every epoch.

    Everything of floating point that is learned is averaged, moving moments too. The means are
    a second copy of the weights.

    Args:
        weights: what is learned, trackable objects by name, as of `Framework.weights`.
    """

    def __init__(self, weights: dict[str, Any]):
        root = tf.train.Checkpoint(**weights)  # a view does not keep what it views
        found = tf.train.TrackableView(root).descendants()
        self._variables = [each for each in found if isinstance(each, tf.Variable)
                           and each.dtype.is_floating]
        self._means = [tf.Variable(tf.zeros_like(each), trainable=False)
                       for each in self._variables]
        self._count = tf.Variable(0, dtype=tf.int64, trainable=False)

    def state(self) -> dict[str, Any]:
        """What has been averaged so far (trackable objects)."""
        return {'average': tf.train.Checkpoint(means=self._means, count=self._count)}

    def add(self) -> None:
        """Takes the weights as they are into the mean."""
        self._count.assign_add(1)
        for mean, variable in zip(self._means, self._variables, strict=True):
            mean.assign_add((variable - mean) / tf.cast(self._count, mean.dtype))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the weights are the means."""
        own = [variable.numpy() for variable in self._variables]
        for variable, mean in zip(self._variables, self._means, strict=True):
            variable.assign(mean)
        try:
            yield
        finally:
            for variable, value in zip(self._variables, own, strict=True):
                variable.assign(value)

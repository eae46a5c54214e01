"""The mean of the weights at the ends of epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from trainer.frameworks.specific import Difference, SpecificParameters, checkpoint_of
from trainer.keras import tf


class WeightAverage:
    """Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, 2018:
    w_mean <- (n w_mean + w) / (n + 1), here at the end of every epoch.

    Everything of floating point that is learned is averaged, moving moments and the parameters
    of each domain's own too. The means are a second copy of the weights.

    Args:
        weights: what is learned, trackable objects by name, as of `Framework.weights`.
        specific: the parameters of each domain's own, where there are any.
    """

    def __init__(self, weights: dict[str, Any], specific: SpecificParameters | None = None):
        root = tf.train.Checkpoint(**weights)  # a view does not keep what it views
        found = tf.train.TrackableView(root).descendants()
        self._variables = [each for each in found if isinstance(each, tf.Variable)
                           and each.dtype.is_floating]
        self._means = [tf.Variable(tf.zeros_like(each), trainable=False)
                       for each in self._variables]
        self._count = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._specific = specific
        self._own = [] if specific is None else specific.differences
        self._own_means = [Difference() for _ in self._own]

    def state(self) -> dict[str, Any]:
        """What has been averaged so far (trackable objects)."""
        return {'average': tf.train.Checkpoint(
            means=self._means, count=self._count, specific=checkpoint_of(self._own_means))}

    def add(self) -> None:
        """Takes the weights as they are into the mean."""
        self._count.assign_add(1)
        for mean, variable in zip(self._means, self._variables, strict=True):
            mean.assign_add((variable - mean) / tf.cast(self._count, mean.dtype))
        for domain, mean in enumerate(self._own_means):
            self._specific.blend(domain, mean, 1 / int(self._count))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the weights are the means."""
        values = [variable.numpy() for variable in self._variables]
        for variable, mean in zip(self._variables, self._means, strict=True):
            variable.assign(mean)
        own = [Difference() for _ in self._own]
        _copy(self._own, own)
        _copy(self._own_means, self._own)
        try:
            yield
        finally:
            for variable, value in zip(self._variables, values, strict=True):
                variable.assign(value)
            _copy(own, self._own)


def _copy(differences: Sequence[Difference], to: Sequence[Difference]) -> None:
    for old, new in zip(differences, to, strict=True):
        new.copy_from(old)

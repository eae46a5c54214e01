"""Average of the weights over the ends of epochs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from trainer.frameworks.core.domain_specific import (
    DomainDelta,
    DomainSpecificParameters,
    checkpoint_of,
)
from trainer.keras import tf


class WeightAverage:
    """Stochastic weight averaging, updated at the end of every epoch.

    w_mean <- (n w_mean + w) / (n + 1) (Izmailov et al., Averaging Weights Leads to Wider Optima
    and Better Generalization, 2018, section 3.2)

    All floating-point weights are averaged, including moving moments and domain-specific
    parameters. The average takes as much memory as the weights.

    Args:
        weights: Trackable objects by name, as `Framework.weights` returns them.
        specific: Domain-specific parameters of the framework, if it has any.
    """

    def __init__(
        self, weights: dict[str, Any], specific: DomainSpecificParameters | None = None
    ) -> None:
        root = tf.train.Checkpoint(**weights)  # a view does not keep its root alive
        objects = tf.train.TrackableView(root).descendants()
        self._variables = [
            variable
            for variable in objects
            if isinstance(variable, tf.Variable) and variable.dtype.is_floating
        ]
        self._means = [
            tf.Variable(tf.zeros_like(variable), trainable=False)
            for variable in self._variables
        ]
        self._count = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._specific = specific
        self._deltas = [] if specific is None else specific.deltas
        self._delta_means = [DomainDelta() for _ in self._deltas]

    def state(self) -> dict[str, Any]:
        """Returns the average so far, as trackable objects by name, for checkpoints."""
        return {
            'average': tf.train.Checkpoint(
                means=self._means, count=self._count, specific=checkpoint_of(self._delta_means)
            )
        }

    def add(self) -> None:
        """Adds the current weights to the average."""
        self._count.assign_add(1)
        for mean, variable in zip(self._means, self._variables, strict=True):
            mean.assign_add((variable - mean) / tf.cast(self._count, mean.dtype))
        if self._specific is not None:
            for domain, mean in enumerate(self._delta_means):
                self._specific.blend(domain, mean, 1 / int(self._count))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Context in which the weights are replaced by their average."""
        values = [variable.numpy() for variable in self._variables]
        for variable, mean in zip(self._variables, self._means, strict=True):
            variable.assign(mean)
        deltas = [DomainDelta() for _ in self._deltas]
        _copy(self._deltas, deltas)
        _copy(self._delta_means, self._deltas)
        try:
            yield
        finally:
            for variable, value in zip(self._variables, values, strict=True):
                variable.assign(value)
            _copy(deltas, self._deltas)


def _copy(deltas: Sequence[DomainDelta], to: Sequence[DomainDelta]) -> None:
    for old, new in zip(deltas, to, strict=True):
        new.copy_from(old)

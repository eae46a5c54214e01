"""Learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

from trainer.keras import keras, tf


class TrainingProgress:
    """The fraction of a run that is done, which the learning-rate schedule follows.

    Shared parameters progress with the rows of the epoch that have been used. Domain-specific
    parameters, which are trained one domain at a time, progress with the part of the epoch that
    trains that domain.

    Args:
        epochs: Number of epochs of the run.
    """

    def __init__(self, epochs: int):
        self._epochs = epochs
        self._value = 0.0
        self._variable: tf.Variable | None = None

    @property
    def fraction(self) -> tf.Variable:
        """The fraction of the run that is done, a scalar variable in [0, 1]."""
        if self._variable is None:
            self._variable = tf.Variable(self._value, trainable=False, name='done')
        return self._variable

    def update(self, epoch: int, share: float) -> None:
        """Sets the progress: `share` of the given epoch, the first being 0, is done."""
        self._value = (epoch + share) / self._epochs
        if self._variable is not None:  # without a schedule, no step needs to wait for it
            self._variable.assign(self._value)


def schedule_factor(kind: str, warmup: float, fraction: tf.Tensor) -> tf.Tensor:
    """Returns the factor r(d) / r of a `ProgressSchedule`, of the shape of `fraction`.

    Args:
        kind: `constant`, `linear` or `cosine`.
        warmup: Fraction of the run spent in warm-up, in [0, 1).
        fraction: Fractions d of the run that are done.
    """
    left = tf.minimum(1.0, tf.maximum(0.0, (1.0 - fraction) / (1.0 - warmup)))
    factor = {
        'constant': tf.ones_like(fraction),
        'linear': left,
        'cosine': (1 - tf.cos(math.pi * left)) / 2,
    }[kind]
    return tf.where(fraction < warmup, fraction / warmup, factor) if warmup else factor


def peak_learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Returns the peak rate r of a `ProgressSchedule`; without one, the learning rate."""
    rate = optimizer._learning_rate
    return rate.rate if isinstance(rate, ProgressSchedule) else float(rate)


@keras.utils.register_keras_serializable('mdctr')
class ProgressSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that follows the fraction of the run that is done, not optimizer steps.

    It is therefore the same for all optimizers of a framework, however many steps each takes,
    and a resumed run continues at the rate where it stopped. With d the fraction done and w the
    warm-up,

        r(d) = r d / w                           d < w
        r(d) = r                                 constant
        r(d) = r (1 - p)                         linear, p = (d - w) / (1 - w)
        r(d) = r (1 + cos(pi p)) / 2             cosine

    Args:
        kind: `constant`, `linear` or `cosine`.
        rate: Peak learning rate r.
        warmup: Fraction w of the run in which the rate rises from 0, in [0, 1).
        fraction: Fraction d of the run that is done: a variable, or the value of a new one.
    """

    def __init__(self, kind: str, rate: float, warmup: float, fraction: tf.Variable | float):
        self.kind, self.rate, self.warmup = kind, rate, warmup
        self.fraction = (
            fraction
            if isinstance(fraction, tf.Variable)
            else tf.Variable(fraction, dtype=tf.float32, trainable=False, name='done')
        )

    def __call__(self, step: Any) -> tf.Tensor:
        return self.rate * schedule_factor(
            self.kind, self.warmup, tf.convert_to_tensor(self.fraction)
        )

    def get_config(self) -> dict[str, Any]:
        return {
            'kind': self.kind,
            'rate': self.rate,
            'warmup': self.warmup,
            'fraction': float(self.fraction),
        }

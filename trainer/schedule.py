"""How the learning rate changes in the course of a run."""

from __future__ import annotations

import math
from typing import Any

from trainer.keras import keras, tf

KINDS = ('constant', 'linear', 'cosine')


class Course:
    """How far a run is, which its learning rate follows.

    Parameters that all domains share are as far as the epoch's rows are used; those of a
    domain's own, which are trained one domain after another, each as far as the part of the
    epoch that trains them.

    Args:
        passes: the epochs of the run.
    """

    def __init__(self, passes: int):
        self._passes = passes
        self._share, self._done = 0.0, None

    @property
    def done(self) -> tf.Variable:
        """The share of the run that is done, in [0, 1]."""
        if self._done is None:
            self._done = tf.Variable(self._share, trainable=False, name='done')
        return self._done

    def at(self, epoch: int, share: float) -> None:
        """The run is in this epoch, the first being 0, of which this share is done."""
        self._share = (epoch + share) / self._passes
        if self._done is not None:  # else no rate follows it, and a step is not to wait for it
            self._done.assign(self._share)


def rate_factor(kind: str, warmup: float, done: tf.Tensor) -> tf.Tensor:
    """r(d) / r of a `Schedule`, for each d of `done`."""
    left = tf.minimum(1.0, tf.maximum(0.0, (1.0 - done) / (1.0 - warmup)))
    factor = {'constant': tf.ones_like(done), 'linear': left,
              'cosine': (1 - tf.cos(math.pi * left)) / 2}[kind]
    return tf.where(done < warmup, done / warmup, factor) if warmup else factor


def rate_before_schedule(optimizer: keras.optimizers.Optimizer) -> float:
    """r of an optimizer whose rate follows a `Schedule`; of any other, its rate."""
    rate = optimizer._learning_rate
    return rate.rate if isinstance(rate, Schedule) else float(rate)


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that follows the share of the run that is done, not an optimizer's steps.

    So it is the same for every optimizer of a framework, whatever its steps are, and a run
    that continues is where it was. With d the share done and w that of the warm-up,

        r(d) = r d / w                           d < w
        r(d) = r                                 constant
        r(d) = r (1 - p)                         linear, p = (d - w) / (1 - w)
        r(d) = r (1 + cos(pi p)) / 2             cosine

    Args:
        kind: `constant`, `linear` or `cosine`.
        rate: r.
        warmup: w, in [0, 1).
        done: d, a variable.
    """

    def __init__(self, kind: str, rate: float, warmup: float, done: tf.Variable):
        self.kind, self.rate, self.warmup, self.done = kind, rate, warmup, done

    def __call__(self, step: Any) -> tf.Tensor:
        return self.rate * rate_factor(self.kind, self.warmup, tf.convert_to_tensor(self.done))

    def get_config(self) -> dict[str, Any]:
        return {'kind': self.kind, 'rate': self.rate, 'warmup': self.warmup}

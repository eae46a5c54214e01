"""How the learning rate changes in the course of a run."""

from __future__ import annotations

import math
from typing import Any

from trainer.keras import keras, tf

KINDS = ('constant', 'linear', 'cosine')


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
        done = tf.convert_to_tensor(self.done)
        left = tf.minimum(1.0, tf.maximum(0.0, (1.0 - done) / (1.0 - self.warmup)))
        factor = {'constant': tf.ones([]), 'linear': left,
                  'cosine': (1 - tf.cos(math.pi * left)) / 2}[self.kind]
        if self.warmup:
            factor = tf.where(done < self.warmup, done / self.warmup, factor)
        return self.rate * factor

    def get_config(self) -> dict[str, Any]:
        return {'kind': self.kind, 'rate': self.rate, 'warmup': self.warmup}

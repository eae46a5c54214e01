"""Losses weighted by learned uncertainties."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from beam_jobs.options import setting
from trainer.frameworks.joint import Joint
from trainer.keras import keras, tf
from trainer.models.base import CTRModel
from trainer.step import TrainStep


class WeightedLoss(Joint):
    """Kendall et al., Multi-Task Learning Using Uncertainty, 2018, equation 10, a domain a
    task:

        L = sum_i L_i / sigma_i^2 + log sigma_i

    for every row by its domain. s_i = log sigma_i^2 is learned with the model, by the same
    optimizer, and kept within +- log(max_weight): without a bound, a domain that is learned
    to the last row has a weight that grows for ever, and one that cannot be learned fades.
    """

    @dataclass(frozen=True)
    class Options:
        """The weights.

        Attributes:
            max_weight: the greatest weight 1 / sigma^2 of a domain; its inverse is the least.
        """

        max_weight: float = setting(5.0, above=1)

    def prepare(self) -> None:
        self.step = WeightedStep(self.model, self.optimizer,
                                 math.log(self.options.max_weight), self.config.xla)

    def state(self) -> dict[str, Any]:
        return {**super().state(), 'log_variance': self.step.log_variance}


class WeightedStep(TrainStep):
    """A step of the weighted loss.

    Args:
        model: with its variables made.
        optimizer: of the model and of the uncertainties.
        bound: of the absolute value of s.
        xla: as of `TrainStep`.

    Attributes:
        log_variance: s of every domain, [num_domains], from 0.
    """

    def __init__(self, model: CTRModel, optimizer: keras.optimizers.Optimizer, bound: float,
                 xla: bool = False):
        self.log_variance = tf.Variable(
            tf.zeros([model.num_domains]), name='log_variance',
            constraint=lambda value: tf.clip_by_value(value, -bound, bound))
        super().__init__(model, optimizer, [*model.trainable_variables, self.log_variance],
                         xla)

    def _gradients(self, features, click):
        with tf.GradientTape() as tape:
            loss, weighted = self._losses(features, click)
            target = self.optimizer.get_scaled_loss(weighted) if self._scaled else weighted
        return loss, tape.gradient(target, self.variables)

    def _losses(self, features, click):
        """The plain loss, for the logs, and the weighted one."""
        model = self.model
        logits = model(features, training=True)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(click, logits)
        s = tf.gather(self.log_variance, features['domain'])
        extra = sum(tf.cast(extra, tf.float32) for extra in model.losses)
        return (tf.reduce_mean(losses) + extra,
                tf.reduce_mean(tf.exp(-s) * losses + s / 2) + extra)

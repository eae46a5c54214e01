"""Weighted loss (Kendall et al.)."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from trainer.frameworks.joint import Joint
from trainer.keras import keras, tf
from trainer.loop.step import TrainStep
from trainer.models.base import CTRModel


class WeightedLoss(Joint):
    """Joint training with losses weighted by learned uncertainties.

    Kendall et al., Multi-Task Learning Using Uncertainty to Weigh Losses, 2018, equation 10,
    with the domains as tasks:

        L = sum_i L_i / sigma_i^2 + log sigma_i

    for every row by its domain. s_i = log sigma_i^2 is trained with the model, by the same
    optimizer, and clipped to +- log(max_weight): without a bound, the weight of a domain that
    is fitted perfectly grows indefinitely, and that of one that cannot be learned vanishes.
    """

    class Options(Joint.Options):
        """Options of the weighted loss."""

        max_weight: float = Field(
            default=5.0,
            gt=1,
            description='Maximum weight 1 / sigma^2 of a domain; its inverse is the minimum.',
        )

    options: Options
    step: WeightedStep

    def prepare(self) -> None:
        self.step = WeightedStep(
            self.model, self.optimizer, math.log(self.options.max_weight), self.config.xla
        )

    def state(self) -> dict[str, Any]:
        return {**super().state(), 'log_variance': self.step.log_variance}


class WeightedStep(TrainStep):
    """Training step of the weighted loss.

    Args:
        model: Model, already built.
        optimizer: Optimizer of the model and of the uncertainties.
        bound: Bound of the absolute value of s.
        xla: Whether to compile the gradients with XLA, as for `TrainStep`.

    Attributes:
        log_variance: Variable s = log sigma^2, float32 [num_domains], initially 0.
    """

    def __init__(
        self,
        model: CTRModel,
        optimizer: keras.optimizers.Optimizer,
        bound: float,
        xla: bool = False,
    ):
        self.log_variance = tf.Variable(
            tf.zeros([model.num_domains]),
            name='log_variance',
            constraint=lambda value: tf.clip_by_value(value, -bound, bound),
        )
        super().__init__(model, optimizer, [*model.trainable_variables, self.log_variance], xla)

    def _gradients(
        self, features: dict[str, tf.Tensor], click: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor | tf.IndexedSlices | None]]:
        with tf.GradientTape() as tape:
            loss, weighted = self._losses(features, click)
            target = self.optimizer.get_scaled_loss(weighted) if self._scaled else weighted
        return loss, tape.gradient(target, self.variables)

    def _losses(
        self, features: dict[str, tf.Tensor], click: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the unweighted loss, for the logs, and the weighted one."""
        model = self.model
        logits = model(features, training=True)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(click, logits)
        s = tf.gather(self.log_variance, features['domain'])
        extra = sum(tf.cast(extra, tf.float32) for extra in model.losses)
        return (
            tf.reduce_mean(losses) + extra,
            tf.reduce_mean(tf.exp(-s) * losses + s / 2) + extra,
        )

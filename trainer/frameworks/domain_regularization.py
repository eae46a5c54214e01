"""Domain regularization (DR) on top of alternate training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainer.frameworks.core.base import StepReport
from trainer.frameworks.core.domain_regularizer import DomainRegularizer, RegularizationOptions
from trainer.frameworks.core.domain_specific_framework import DomainSpecificFramework
from trainer.frameworks.core.inner_loop_framework import InnerLoopFramework
from trainer.keras import tf
from trainer.loop.step import TrainStep


class DomainRegularization(DomainSpecificFramework, InnerLoopFramework):
    """MAMDR without domain negotiation (tables VI and X).

    theta_S is trained alternately, and then, in every epoch, theta_i of every domain i by
    domain regularization (algorithm 2), from theta_i = 0. The two have optimizers of their
    own.

    A domain is scored with Theta = theta_S + theta_i (equation 4); an unseen domain, and one
    without training rows, with theta_S. The positions of an epoch are the batches of theta_S,
    followed by the domains of algorithm 2.
    """

    Options = RegularizationOptions

    options: RegularizationOptions

    def prepare(self) -> None:
        super().prepare()
        self.regularization = DomainRegularizer(
            self.config,
            self.options,
            self.model,
            self.examples,
            self.make_inner_optimizer(),
            self.progress,
        )
        self.domain_specific = self.regularization.domain_specific
        self._regularizing = False  # whether the epoch has reached algorithm 2

    def train_steps(self) -> list[TrainStep]:
        return [*super().train_steps(), self.regularization.step]

    def epoch(self, number: int, start: int = 0) -> Iterator[StepReport]:
        shared = self.examples.num_batches(self.config.batch_size)
        if start < shared:
            yield from super().epoch(number, start)
        for report in self.regularization.epoch(number, max(0, start - shared)):
            yield report._replace(position=shared + report.position)

    def update_progress(self, number: int, rows: int) -> None:
        self._regularizing = rows > len(self.examples)
        if not self._regularizing:  # each theta_i follows its own progress
            super().update_progress(number, rows)

    def learning_rate(self) -> float:
        if not self._regularizing:
            return super().learning_rate()
        return float(tf.convert_to_tensor(self.regularization.step.optimizer.learning_rate))

    def state(self) -> dict[str, Any]:
        return {**super().state(), 'regularization': self.regularization.step.optimizer}

"""Frameworks whose step takes batches of several domains at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.examples import Batch, prefetch
from trainer.frameworks.base import Framework, Progress
from trainer.frameworks.gradient_step import Gradient, GradientStep
from trainer.frameworks.order import Streams, groups
from trainer.keras import tf


@dataclass(frozen=True)
class GroupOptions:
    """How many domains a step takes.

    Attributes:
        domains_per_step: at most so many different domains, a batch of each. An epoch has
            every batch once, so a domain with a great share of them makes groups smaller.
    """

    domains_per_step: int = setting(8, minimum=1)


class Grouped(Framework):
    """Every step is one update by a gradient that `combine` makes of several domains' batches.

    Batches are of one domain each, whatever the run's `batches`. A position is a step.
    """

    Options = GroupOptions

    def prepare(self) -> None:
        self.step = GradientStep(self.model, self.optimizer, xla=self.config.xla)

    def combine(self, batches: list[Batch], key: tuple[int, int]) -> tuple[tf.Tensor, Gradient]:
        """The step's gradient and the mean loss of its rows.

        Args:
            batches: of different domains, one each.
            key: the epoch and the step, of random draws.
        """
        raise NotImplementedError

    def epoch(self, number: int, start: int = 0) -> Iterator[Progress]:
        size, seed = self.config.batch_size, self.config.seed
        made = groups(self.examples, number, size, seed, self.options.domains_per_step)
        streams = Streams(self.examples, number, size, seed)
        for group in made[:start]:
            for domain in group:
                streams.skip(domain)
        batches = prefetch(streams.take(domain) for group in made[start:] for domain in group)
        for position, group in enumerate(made[start:], start + 1):
            mine = [next(batches) for _ in group]
            loss, gradient = self.combine(mine, (number, position))
            self.step.update(gradient)
            yield Progress(position, loss, sum(batch['click'].shape[0] for batch in mine))


def mean_loss(losses: list[tf.Tensor], batches: list[Batch]) -> tf.Tensor:
    """The mean loss of the rows of batches of which these are the means."""
    rows = tf.constant([float(batch['click'].shape[0]) for batch in batches])
    return tf.reduce_sum(tf.stack(losses) * rows) / tf.reduce_sum(rows)

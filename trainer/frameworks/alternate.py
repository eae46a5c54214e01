"""Alternate training: one domain after another."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.data.prefetch import prefetch
from trainer.frameworks.core.base import Framework, StepReport
from trainer.frameworks.core.moments import SharedMoments
from trainer.frameworks.core.order import domain_by_domain, domain_order
from trainer.loop.step import TrainStep


class Alternate(Framework):
    """Passes over the rows of one domain after another (one-by-one training, MAMDR V-B).

    The order of the domains is drawn for every epoch. Batches are of one domain each, whatever
    `train.batching`. The positions of an epoch are its batches.

    Attributes:
        moments: Measures the shared moments at the end of an epoch.
    """

    def prepare(self) -> None:
        self.step = self.make_step()
        self.moments = SharedMoments(
            self.model, self.examples, self.config.batch_size, self.config.seed
        )

    def make_step(self) -> TrainStep:
        """Creates the training step."""
        return TrainStep(self.model, self.optimizer, xla=self.config.xla)

    def epoch(self, number: int, start: int = 0) -> Iterator[StepReport]:
        size, seed = self.config.batch_size, self.config.seed
        order = domain_order(self.examples, seed, number)
        total = self.examples.num_batches(size)
        batches = prefetch(domain_by_domain(self.examples, order, number, size, seed, start))
        if start == 0:
            self.begin_loop()
        for position, batch in enumerate(batches, start + 1):
            loss = self.step(batch)
            if position == total:
                self.end_loop()
                self.moments.measure(number)
            yield StepReport(position, loss, batch['click'].shape[0])

    def begin_loop(self) -> None:
        """Runs before the first batch of an epoch."""

    def end_loop(self) -> None:
        """Runs after the last batch of an epoch."""

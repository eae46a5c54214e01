"""Alternate training: one domain after another."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.examples import prefetch
from trainer.frameworks.base import Framework, Progress
from trainer.frameworks.moments import SharedMoments
from trainer.frameworks.order import domain_order, one_after_another
from trainer.step import TrainStep


class Alternate(Framework):
    """One-by-one training (MAMDR V-B): a pass over each domain's rows, domain after domain,
    in an order drawn anew for every epoch.

    Batches are of one domain each, whatever the run's `batches`. A position is a batch.
    """

    def prepare(self) -> None:
        self.step = self.make_step()
        self.moments = SharedMoments(self.model, self.examples, self.config.batch_size,
                                     self.config.seed)

    def make_step(self) -> TrainStep:
        """The step that every batch takes."""
        return TrainStep(self.model, self.optimizer, xla=self.config.xla)

    def epoch(self, number: int, start: int = 0) -> Iterator[Progress]:
        size, seed = self.config.batch_size, self.config.seed
        order = domain_order(self.examples, seed, number)
        total = self.examples.num_batches(size)
        batches = prefetch(one_after_another(self.examples, order, number, size, seed, start))
        if start == 0:
            self.begin_loop()
        for position, batch in enumerate(batches, start + 1):
            loss = self.step(batch)
            if position == total:
                self.end_loop()
                self.moments.measure(number)
            yield Progress(position, loss, batch['click'].shape[0])

    def begin_loop(self) -> None:
        """What comes before the first domain of an epoch."""

    def end_loop(self) -> None:
        """What comes after its last one."""

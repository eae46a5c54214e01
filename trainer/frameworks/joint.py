"""Joint training: every batch moves the one model."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.examples import prefetch
from trainer.frameworks.base import Framework, Progress
from trainer.step import TrainStep


class Joint(Framework):
    """Batches of one domain each, in proportion to the domains (STAR 3.2), or mixed ones."""

    def prepare(self) -> None:
        self.step = TrainStep(self.model, self.optimizer, xla=self.config.xla)

    def epoch(self, number: int, start: int = 0) -> Iterator[Progress]:
        batches = prefetch(self.examples.epoch(
            number, self.config.batch_size, self.config.batches or self.model.batches,
            self.config.seed, start))
        for position, batch in enumerate(batches, start + 1):
            yield Progress(position, self.step(batch), batch['click'].shape[0])

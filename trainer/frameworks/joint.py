"""Joint training: every batch moves the one model."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.examples import Batch, prefetch
from trainer.frameworks.base import Framework, Progress
from trainer.step import TrainStep
from trainer.stream import Stream


class Joint(Framework):
    """Batches of one domain each, in proportion to the domains (STAR 3.2), or mixed ones.

    With `stream_rows` they come in the order of time, through a shuffled window (STAR 4.4).
    """

    def prepare(self) -> None:
        self.step = TrainStep(self.model, self.optimizer, xla=self.config.xla)

    def epoch(self, number: int, start: int = 0) -> Iterator[Progress]:
        for position, batch in enumerate(prefetch(self._batches(number, start)), start + 1):
            yield Progress(position, self.step(batch), batch['click'].shape[0])

    def _batches(self, number: int, start: int) -> Iterator[Batch]:
        size, kind = self.config.batch_size, self.config.batches or self.model.batches
        if self.config.stream_rows:
            stream = Stream(self.examples, self.config.stream_rows, self.config.seed)
            return stream.batches(size, kind, start)
        return self.examples.epoch(number, size, kind, self.config.seed, start)

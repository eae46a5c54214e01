"""Joint training: every batch updates one model."""

from __future__ import annotations

from collections.abc import Iterator

from trainer.data.batching import Batch
from trainer.data.prefetch import prefetch
from trainer.data.stream import Stream
from trainer.frameworks.core.base import Framework, StepReport
from trainer.loop.step import TrainStep


class Joint(Framework):
    """Trains one model on batches of all domains.

    Batches are of one domain each, drawn in proportion to the domains' sizes (STAR 3.2), or
    mixed. With `streaming_buffer_size`, they are read in order of time, through a shuffle
    buffer (STAR 4.4).
    """

    def prepare(self) -> None:
        self.step = TrainStep(self.model, self.optimizer, xla=self.config.xla)

    def epoch(self, number: int, start: int = 0) -> Iterator[StepReport]:
        for position, batch in enumerate(prefetch(self._batches(number, start)), start + 1):
            yield StepReport(position, self.step(batch), batch['click'].shape[0])

    def _batches(self, number: int, start: int) -> Iterator[Batch]:
        size, kind = self.config.batch_size, self.config.batching or self.model.batches
        if self.config.streaming_buffer_size:
            stream = Stream(self.examples, self.config.streaming_buffer_size, self.config.seed)
            return stream.batches(size, kind, start)
        return self.examples.epoch(number, size, kind, self.config.seed, start)

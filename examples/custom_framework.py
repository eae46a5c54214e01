"""A learning framework of your own: domains in turn, whatever their sizes.

mdctr train shops.yaml --set train.framework=custom_framework:UniformDomains
"""

import itertools
from collections.abc import Iterator

from pydantic import Field

from trainer.data.batching import Batch
from trainer.data.prefetch import prefetch
from trainer.frameworks.core.base import Framework, StepReport
from trainer.loop.step import TrainStep


class UniformDomains(Framework):
    """Every domain has the same number of steps in an epoch, one after the other.

    The training loop calls `epoch`, and does the rest: validation, early stopping, checkpoints
    and logs. A killed run continues after the last position that it has saved.
    """

    class Options(Framework.Options):
        """Options of the framework, in `train.framework_options`."""

        steps_per_domain: int = Field(
            default=100, ge=1, description='Steps of each domain in an epoch.'
        )

    def prepare(self) -> None:
        self.step = TrainStep(self.model, self.optimizer, xla=self.config.xla)

    def epoch(self, number: int, start: int = 0) -> Iterator[StepReport]:
        batches = itertools.islice(self._batches(number), start, None)
        for position, batch in enumerate(prefetch(batches), start + 1):
            yield StepReport(position, self.step(batch), batch['click'].shape[0])

    def _batches(self, number: int) -> Iterator[Batch]:
        steps = self.options.steps_per_domain
        domains = [self._passes(domain, number) for domain in self.examples.domains]
        for _ in range(steps):
            for batches in domains:
                yield next(batches)

    def _passes(self, domain: int, number: int) -> Iterator[Batch]:
        """Batches of a domain, in as many passes over its rows as are needed."""
        for repeat in itertools.count():
            yield from self.examples.domain_epoch(
                domain, number, self.config.batch_size, self.config.seed + repeat
            )

"""Base class of frameworks whose steps use batches of several domains."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from trainer.data.batching import Batch
from trainer.data.prefetch import prefetch
from trainer.frameworks.core.base import Framework, StepReport
from trainer.frameworks.core.gradient_step import Gradient, GradientStep
from trainer.frameworks.core.order import DomainStreams, domain_groups
from trainer.keras import tf


class MultiDomainOptions(Framework.Options):
    """Options of a framework whose steps use batches of several domains."""

    domains_per_step: int = Field(
        default=8,
        ge=1,
        description='Maximum number of domains per step, with one batch each. An epoch uses '
        'every batch once, so groups are smaller where one domain has most of the batches.',
    )


class MultiDomainFramework(Framework):
    """Combines the gradients of several domains' batches into the gradient of one update.

    Subclasses implement `combine`. Batches are of one domain each, whatever `train.batching`.
    The positions of an epoch are its steps.
    """

    Options = MultiDomainOptions

    options: MultiDomainOptions
    step: GradientStep

    def prepare(self) -> None:
        self.step = GradientStep(self.model, self.optimizer, xla=self.config.xla)

    def combine(self, batches: list[Batch], key: tuple[int, int]) -> tuple[tf.Tensor, Gradient]:
        """Returns the mean loss of a step's rows and the gradient of its update.

        Args:
            batches: Batches of different domains.
            key: Numbers of the epoch and the step, as the key of random draws.
        """
        raise NotImplementedError

    def epoch(self, number: int, start: int = 0) -> Iterator[StepReport]:
        size, seed = self.config.batch_size, self.config.seed
        groups = domain_groups(self.examples, number, size, seed, self.options.domains_per_step)
        streams = DomainStreams(self.examples, number, size, seed)
        for group in groups[:start]:
            for domain in group:
                streams.skip(domain)
        stream = prefetch(streams.take(domain) for group in groups[start:] for domain in group)
        for position, group in enumerate(groups[start:], start + 1):
            batches = [next(stream) for _ in group]
            loss, gradient = self.combine(batches, (number, position))
            self.step.update(gradient)
            yield StepReport(position, loss, sum(batch['click'].shape[0] for batch in batches))


def mean_loss(losses: list[tf.Tensor], batches: list[Batch]) -> tf.Tensor:
    """Returns the mean loss over all rows of `batches`, given each batch's mean loss."""
    rows = tf.constant([float(batch['click'].shape[0]) for batch in batches])
    return tf.reduce_sum(tf.stack(losses) * rows) / tf.reduce_sum(rows)

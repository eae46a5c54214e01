"""MAML."""

from __future__ import annotations

from pydantic import Field

from trainer.data.batching import Batch
from trainer.frameworks.core.gradient_step import Gradient, deduplicate_gradient, weighted_sum
from trainer.frameworks.core.look_ahead import look_ahead
from trainer.frameworks.core.multi_domain import (
    MultiDomainFramework,
    MultiDomainOptions,
    mean_loss,
)
from trainer.keras import tf


class MAML(MultiDomainFramework):
    """Model-agnostic meta-learning: gradients after a trial step.

    Finn et al., Model-Agnostic Meta-Learning, 2017, algorithm 2, with the domains as tasks:

        theta'_i <- theta - alpha grad L(theta, support_i)
        theta <- theta - beta grad sum_i L(theta'_i, query_i)

    Support and query are the two halves of a batch. A batch of one row has no support, and its
    theta' is theta. The second line is a step of the run's optimizer.
    """

    class Options(MultiDomainOptions):
        """Options of MAML."""

        inner_learning_rate: float = Field(
            default=0.01, gt=0, description='Learning rate alpha of the look-ahead.'
        )
        second_order: bool = Field(
            default=False,
            description="Whether to differentiate through theta', as the paper does; the "
            'first-order approximation (5.2) takes half the time.',
        )

    options: Options

    def combine(self, batches: list[Batch], key: tuple[int, int]) -> tuple[tf.Tensor, Gradient]:
        losses, gradients = [], []
        for batch in batches:
            support, query = halves(batch)
            if support is None:
                loss, gradient = self.step.gradient(query)
            else:
                (loss,), gradient = look_ahead(
                    self.step,
                    [support],
                    self.step.gradient(support)[1],
                    [query],
                    self.options.inner_learning_rate,
                    self.options.second_order,
                )
            losses.append(loss)
            gradients.append(gradient)
        return (
            mean_loss(losses, batches),
            deduplicate_gradient(weighted_sum(gradients, [1.0] * len(gradients))),
        )


def halves(batch: Batch) -> tuple[Batch | None, Batch]:
    """Splits a batch of one domain into support and query.

    Args:
        batch: Batch of one domain.

    Returns:
        The support, None for a batch of one row, and the query.
    """
    rows = batch['click'].shape[0]
    half = rows // 2

    def part(begin: int, end: int) -> Batch:
        return {
            name: values if name == 'domain' else values[begin:end]
            for name, values in batch.items()
        }

    return (part(0, half) if half else None), part(half, rows)

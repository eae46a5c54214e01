"""MAML."""

from __future__ import annotations

from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.examples import Batch
from trainer.frameworks.gradient_step import Gradient, rows_once, total
from trainer.frameworks.grouped import Grouped, GroupOptions, mean_loss
from trainer.frameworks.look_ahead import look_ahead
from trainer.keras import tf


class MAML(Grouped):
    """Finn et al., Model-Agnostic Meta-Learning, 2017, algorithm 2, a domain a task:

        theta'_i <- theta - alpha grad L(theta, support_i)
        theta <- theta - beta grad sum_i L(theta'_i, query_i)

    Support and query are the halves of a batch, of different rows. A batch of one row has no
    support: its theta' is theta. The update is by the run's optimizer.
    """

    @dataclass(frozen=True)
    class Options(GroupOptions):
        """The look-ahead.

        Attributes:
            inner_rate: alpha.
            second_order: differentiate through theta', as the paper does; otherwise its
                first-order approximation (5.2), at half the cost.
        """

        inner_rate: float = setting(0.01, above=0)
        second_order: bool = False

    def combine(self, batches: list[Batch], key: tuple[int, int]) -> tuple[tf.Tensor, Gradient]:
        losses, gradients = [], []
        for batch in batches:
            support, query = halves(batch)
            if support is None:
                loss, gradient = self.step.gradient(query)
            else:
                (loss,), gradient = look_ahead(
                    self.step, [support], self.step.gradient(support)[1], [query],
                    self.options.inner_rate, self.options.second_order)
            losses.append(loss)
            gradients.append(gradient)
        return (mean_loss(losses, batches),
                rows_once(total(gradients, [1.0] * len(gradients))))


def halves(batch: Batch) -> tuple[Batch | None, Batch]:
    """Support and query of a batch of one domain; no support where it has one row."""
    rows = batch['click'].shape[0]
    half = rows // 2

    def part(first, last):
        return {name: values if name == 'domain' else values[first:last]
                for name, values in batch.items()}
    return (part(0, half) if half else None), part(half, rows)

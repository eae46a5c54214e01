"""Reptile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from trainer.data.prefetch import prefetch
from trainer.frameworks.core.base import StepReport
from trainer.frameworks.core.order import domain_by_domain, domain_order, num_domain_batches
from trainer.frameworks.domain_negotiation import DomainNegotiation, OuterOptions


class Reptile(DomainNegotiation):
    """Reptile: moves toward the result of several steps on one domain.

    Nichol et al., On First-Order Meta-Learning Algorithms, 2018, algorithm 1, serial version,
    with the domains as tasks:

        phi~ <- phi; k steps of phi~ on one domain; phi <- phi + epsilon (phi~ - phi)

    Unlike domain negotiation, it moves after each domain and not after all of them (MAMDR,
    figure 5). epsilon is `outer_learning_rate`.
    """

    class Options(OuterOptions):
        """Options of Reptile."""

        inner_steps: Annotated[int, Field(ge=1)] | None = Field(
            default=None,
            description="Number k of steps of an inner loop; a pass over the domain's rows, in "
            'as many loops as its batches need, if absent.',
        )

    options: Options

    def epoch(self, number: int, start: int = 0) -> Iterator[StepReport]:
        size, seed = self.config.batch_size, self.config.seed
        order = domain_order(self.examples, seed, number)
        loops = self._loops(order)
        batches = prefetch(domain_by_domain(self.examples, order, number, size, seed, start))
        for position, batch in enumerate(batches, start + 1):
            begins, ends = loops[position - 1]
            if begins:
                self.begin_loop()
            loss = self.step(batch)
            if ends:
                self.end_loop()
            if position == len(loops):
                self.moments.measure(number)
            yield StepReport(position, loss, batch['click'].shape[0])

    def _loops(self, order: list[int]) -> list[tuple[bool, bool]]:
        """Returns, for each batch of an epoch, whether it begins and whether it ends a loop."""
        flags = []
        for domain in order:
            count = num_domain_batches(self.examples, domain, self.config.batch_size)
            k = self.options.inner_steps or count
            flags += [
                (batch % k == 0, batch % k == k - 1 or batch == count - 1)
                for batch in range(count)
            ]
        return flags

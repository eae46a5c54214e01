"""Reptile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from beam_jobs.options import setting
from trainer.examples import prefetch
from trainer.frameworks.base import Progress
from trainer.frameworks.domain_negotiation import DomainNegotiation, OuterOptions
from trainer.frameworks.order import batches_of, domain_order, one_after_another


class Reptile(DomainNegotiation):
    """Nichol et al., On First-Order Meta-Learning Algorithms, 2018, algorithm 1, serial:

        phi~ <- phi, k steps on one domain; phi <- phi + epsilon (phi~ - phi)

    domain after domain: it differs from domain negotiation in that it moves after each
    domain and not after all (MAMDR, figure 5). epsilon is `outer_rate`.
    """

    @dataclass(frozen=True)
    class Options(OuterOptions):
        """The inner loop and the outer update.

        Attributes:
            inner_steps: k; absent, a pass over the domain's rows. A pass of more batches is
                several loops.
        """

        inner_steps: int | None = setting(None, minimum=1)

    def epoch(self, number: int, start: int = 0) -> Iterator[Progress]:
        size, seed = self.config.batch_size, self.config.seed
        order = domain_order(self.examples, seed, number)
        loops = self._loops(order)
        batches = prefetch(one_after_another(self.examples, order, number, size, seed, start))
        for position, batch in enumerate(batches, start + 1):
            first, last = loops[position - 1]
            if first:
                self.begin_loop()
            loss = self.step(batch)
            if last:
                self.end_loop()
            if position == len(loops):
                self.moments.measure(number)
            yield Progress(position, loss, batch['click'].shape[0])

    def _loops(self, order: list[int]) -> list[tuple[bool, bool]]:
        """Of each batch of the epoch: whether it begins a loop, and whether it ends one."""
        flags = []
        for domain in order:
            count = batches_of(self.examples, domain, self.config.batch_size)
            k = self.options.inner_steps or count
            flags += [(place % k == 0, place % k == k - 1 or place == count - 1)
                      for place in range(count)]
        return flags

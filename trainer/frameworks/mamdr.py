"""MAMDR: domain negotiation for the shared parameters, regularization for the specific ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainer.frameworks.base import Progress
from trainer.frameworks.domain_negotiation import DomainNegotiation, OuterOptions
from trainer.frameworks.regularization import Regularization, RegularizationOptions
from trainer.frameworks.with_specific import WithSpecific
from trainer.keras import tf


class MAMDR(WithSpecific, DomainNegotiation):
    """MAMDR, algorithm 3:

        line 2      theta_S by domain negotiation (algorithm 1)
        lines 3-5   theta_i of every domain i by domain regularization (algorithm 2)

    A domain is scored with Theta = theta_S + theta_i (equation 4), an unseen one, and one
    without training rows, with theta_S. A position is a batch of line 2, and then a domain
    of lines 3-5. The two algorithms have inner optimizers of their own.
    """

    @dataclass(frozen=True)
    class Options(RegularizationOptions, OuterOptions):
        """Those of domain negotiation and of domain regularization."""

    def prepare(self) -> None:
        super().prepare()
        self.regularization = Regularization(
            self.config, self.options, self.model, self.examples, self.make_inner(),
            self.course)
        self.specific = self.regularization.specific
        self._own = False  # whether theta_i is what is trained now

    def epoch(self, number: int, start: int = 0) -> Iterator[Progress]:
        shared = self.examples.num_batches(self.config.batch_size)
        if start < shared:
            yield from super().epoch(number, start)
        for progress in self.regularization.epoch(number, max(0, start - shared)):
            yield progress._replace(position=shared + progress.position)

    def note_rows(self, number: int, rows: int) -> None:
        self._own = rows > len(self.examples)
        if not self._own:  # theta_i goes its own course in lines 3-5
            super().note_rows(number, rows)

    def learning_rate(self) -> float:
        if not self._own:
            return super().learning_rate()
        return float(tf.convert_to_tensor(self.regularization.step.optimizer.learning_rate))

    def state(self) -> dict[str, Any]:
        return {**super().state(), 'regularization': self.regularization.step.optimizer}

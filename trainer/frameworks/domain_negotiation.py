"""Domain negotiation (DN)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from trainer.frameworks.core.inner_loop_framework import InnerLoopFramework, InnerOptions
from trainer.frameworks.core.snapshot import InnerStep, OuterStep
from trainer.optimizers.row_wise import make_optimizer


class OuterOptions(InnerOptions):
    """Options of an inner loop and of the outer update."""

    outer_optimizer: str = Field(
        default='sgd',
        description='Outer optimizer, whose slots live through the run; `sgd` is equation 3.',
    )
    outer_optimizer_options: dict[str, Any] = Field(
        default_factory=dict, description='Hyper-parameters of the outer optimizer.'
    )
    outer_learning_rate: float = Field(
        default=0.5,
        gt=0,
        description="Learning rate beta. MAMDR's best are 0.1 and 0.5 (V-H); 0.5 needs fewer "
        'epochs.',
    )


class DomainNegotiation(InnerLoopFramework):
    """Domain negotiation: moves toward the result of a pass over all domains.

    MAMDR, algorithm 1:

        line 2      theta~_1 <- theta
        line 3      randomly shuffle D
        lines 4-6   theta~_{i+1} <- theta~_i - alpha grad L(theta~_i, T^i)      (equation 2)
        line 7      theta <- theta + beta (theta~_{n+1} - theta)                (equation 3)

    Line 5 is a pass over the domain's batches. With beta = 1 it equals alternate training, bit
    by bit.
    """

    Options = OuterOptions

    options: OuterOptions

    def make_outer(self, step: InnerStep) -> OuterStep:
        options = self.options
        plain = options.outer_optimizer == 'sgd' and not options.outer_optimizer_options
        optimizer = (
            None
            if plain
            else make_optimizer(
                options.outer_optimizer,
                options.outer_learning_rate,
                options.outer_optimizer_options,
            )
        )
        return OuterStep(step, optimizer, options.outer_learning_rate)

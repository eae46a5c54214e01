"""Domain negotiation, DN."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from beam_jobs.options import setting
from trainer.frameworks.alternate import Alternate
from trainer.frameworks.core import InnerStep, OuterStep
from trainer.keras import keras
from trainer.optimizers import make_optimizer


@dataclass(frozen=True)
class InnerOptions:
    """The inner loop.

    Attributes:
        inner_optimizer: an optimizer's name, as `optimizer` of the run, which it is where
            absent.
        inner_options: its hyper-parameters; the run's `optimizer_options` go before them
            where it is the run's.
        inner_rate: alpha; absent, the run's `learning_rate`.
        slots: how long the inner optimizer's slots (Adam's moments and step) live: through
            the `run`, as those of alternate training do, or for one inner `loop`.
    """

    inner_optimizer: str | None = None
    inner_options: dict[str, Any] = field(default_factory=dict)
    inner_rate: float | None = setting(None, above=0)
    slots: Literal['run', 'loop'] = 'run'


@dataclass(frozen=True)
class OuterOptions(InnerOptions):
    """The inner loop and the outer update.

    Attributes:
        outer_optimizer: an optimizer's name; its slots live through the run. `sgd` is
            equation 3 as it stands.
        outer_options: its hyper-parameters.
        outer_rate: beta. MAMDR's best are 0.1 and 0.5 (V-H): 0.5 needs fewer epochs.
    """

    outer_optimizer: str = 'sgd'
    outer_options: dict[str, Any] = field(default_factory=dict)
    outer_rate: float = setting(0.5, above=0)


class DomainNegotiation(Alternate):
    """MAMDR, algorithm 1: alternate training is the inner loop, and its end is approached.

        line 2      theta~_1 <- theta
        line 3      randomly shuffle D
        lines 4-6   theta~_{i+1} <- theta~_i - alpha grad L(theta~_i, T^i)      (equation 2)
        line 7      theta <- theta + beta (theta~_{n+1} - theta)                (equation 3)

    Line 5 is a pass over the domain's batches. With beta 1 it is alternate training, to the
    last bit.
    """

    Options = OuterOptions

    def make_step(self) -> InnerStep:
        self.optimizer = self.make_inner()
        step = InnerStep(self.model, self.optimizer, xla=self.config.xla)
        self.outer = self.make_outer(step)
        return step

    def make_inner(self, scheduled: bool = True) -> keras.optimizers.Optimizer:
        """An optimizer of an inner loop."""
        options = self.options
        return self.make_optimizer(options.inner_optimizer, options.inner_rate,
                                   options.inner_options, scheduled)

    def make_outer(self, step: InnerStep) -> OuterStep:
        """The outer update."""
        options = self.options
        plain = options.outer_optimizer == 'sgd' and not options.outer_options
        optimizer = None if plain else make_optimizer(
            options.outer_optimizer, options.outer_rate, options.outer_options)
        return OuterStep(step, optimizer, options.outer_rate)

    def begin_loop(self) -> None:
        self.step.take()  # line 2

    def end_loop(self) -> None:
        if self.options.slots == 'loop':
            self.step.reset_slots()
        self.outer()  # line 7
        self.step.snapshot.end()

    def state(self) -> dict[str, Any]:
        outer = {} if self.outer.optimizer is None else {'outer': self.outer.optimizer}
        return {**super().state(), **outer, 'snapshot': self.step.snapshot}

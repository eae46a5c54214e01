"""Alternate training as an inner loop, which ends with an outer update."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from trainer.frameworks.alternate import Alternate
from trainer.frameworks.core.snapshot import InnerStep, OuterStep
from trainer.keras import keras


class InnerOptions(Alternate.Options):
    """Options of an inner loop."""

    inner_optimizer: str | None = Field(
        default=None, description="Inner optimizer, as `optimizer`; the run's if absent."
    )
    inner_optimizer_options: dict[str, Any] = Field(
        default_factory=dict,
        description="Hyper-parameters of the inner optimizer; those of the run's optimizer, "
        'where it is used, are replaced key by key.',
    )
    inner_learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Learning rate alpha; the run's if absent."
    )
    slot_lifetime: Literal['run', 'loop'] = Field(
        default='run',
        description="Lifetime of the inner optimizer's slots (Adam's moments and step): the "
        'whole `run`, as in alternate training, or one inner `loop`.',
    )


class InnerLoopFramework(Alternate):
    """Alternate training whose epochs are inner loops between outer updates.

    The outer update is `make_outer`: here plain SGD with a learning rate of 1, which keeps the
    end of the loop, so that an epoch is one of alternate training.

    Attributes:
        outer: Outer update.
    """

    Options = InnerOptions

    options: InnerOptions
    step: InnerStep

    def make_step(self) -> InnerStep:
        self.optimizer = self.make_inner_optimizer()
        step = InnerStep(self.model, self.optimizer, xla=self.config.xla)
        self.outer = self.make_outer(step)
        return step

    def make_inner_optimizer(self) -> keras.optimizers.Optimizer:
        """Returns a new optimizer for inner loops."""
        options = self.options
        return self.make_optimizer(
            options.inner_optimizer,
            options.inner_learning_rate,
            options.inner_optimizer_options,
        )

    def make_outer(self, step: InnerStep) -> OuterStep:
        """Returns the outer update.

        Args:
            step: Step of the inner loop.
        """
        return OuterStep(step, None, 1.0)

    def begin_loop(self) -> None:
        self.step.take()

    def end_loop(self) -> None:
        if self.options.slot_lifetime == 'loop':
            self.step.reset_slots()
        self.outer()
        self.step.snapshot.end()

    def state(self) -> dict[str, Any]:
        outer = {} if self.outer.optimizer is None else {'outer': self.outer.optimizer}
        return {**super().state(), **outer, 'snapshot': self.step.snapshot}

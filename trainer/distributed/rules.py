"""Update rules of optimizers, for variables that are not the model's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from mdctr.errors import UserError
from trainer.keras import keras, tf
from trainer.optimizers.row_optimizer import RowOptimizer
from trainer.optimizers.row_wise import OPTIMIZERS
from trainer.optimizers.schedule import peak_learning_rate

# `RowOptimizer` itself sets these; `begin_step` sets the learning rate.
_NOT_COPIED = ('name', 'jit_compile', 'is_legacy_optimizer', 'learning_rate')

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None
"""Gradient of a variable, or of rows of it; None if the loss does not depend on it."""


class UpdateRule:
    """What an optimizer does to values and slots, wherever these are.

        rule.begin_step(iterations)
        for gradient, variables in ...:
            rule(gradient, variables)     # variables: the value and its slots

    Args:
        optimizer: Optimizer whose hyper-parameters are used; its own slots do not change.

    Raises:
        UserError: The optimizer updates whole tables.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        if not isinstance(optimizer, RowOptimizer):
            raise UserError(
                'On parameter servers an optimizer must update single rows, but '
                f'{type(optimizer).__name__} updates whole tables: choose one of '
                f'{", ".join(OPTIMIZERS)}.'
            )
        self._rate = peak_learning_rate(optimizer)
        self._optimizer = type(optimizer)(
            **{
                name: value
                for name, value in optimizer.get_config().items()
                if name not in _NOT_COPIED
            }
        )

    def begin_step(self, iterations: tf.Tensor, factor: tf.Tensor | float = 1.0) -> None:
        """Starts a step, in every graph that applies the rule.

        Args:
            iterations: Number of steps before this one, int64.
            factor: Factor of the learning rate, by which it follows a schedule.
        """
        # The optimizer's own variables are the chief's: every step would read them remotely.
        self._optimizer._iterations = iterations
        self._optimizer._learning_rate = self._rate * factor
        self._optimizer._constants = self._optimizer.constants()

    def prepare(self, gradients: Sequence[Gradient]) -> list[Gradient]:
        """Clips a step's gradients as the optimizer does, and sums repeated rows."""
        optimizer = self._optimizer
        present = [gradient for gradient in gradients if gradient is not None]
        prepared = iter(optimizer._deduplicate_sparse_grad(optimizer._clip_gradients(present)))
        return [None if gradient is None else next(prepared) for gradient in gradients]

    def __call__(self, gradient: Gradient, variables: Sequence[tf.Variable]) -> None:
        """Updates a value and its slots.

        Args:
            gradient: Gradient of the value, or of rows of it without repetitions; None changes
                nothing.
            variables: The value, then its slots, all of one shape.
        """
        if isinstance(gradient, tf.IndexedSlices):
            self._optimizer.apply_to_rows(gradient, list(variables))
        elif gradient is not None:
            self._optimizer.apply(gradient, *(variable.handle for variable in variables))

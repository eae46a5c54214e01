"""Optimizers of variables that are not the model's own: caches, and what servers hold."""

from __future__ import annotations

from collections.abc import Sequence

from beam_jobs.errors import UserError
from trainer.keras import keras, tf
from trainer.optimizers import OPTIMIZERS, RowOptimizer
from trainer.schedule import rate_before_schedule

# To Keras by `RowOptimizer` itself, and, the last, by `begin`.
_GIVEN = ('name', 'jit_compile', 'is_legacy_optimizer', 'learning_rate')

Gradient = tf.Tensor | tf.IndexedSlices | None


class Rule:
    """What an optimizer does to values and slots, wherever those are.

        rule.begin(iterations)
        for gradient, variables in ...:
            rule(gradient, variables)     # variables: the value and its slots

    Args:
        optimizer: whose hyper-parameters it has; its own slots stay as they are.

    Raises:
        UserError: the optimizer goes over whole tables.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        if not isinstance(optimizer, RowOptimizer):
            raise UserError(
                f'On parameter servers an optimizer has to move rows alone, and '
                f'{type(optimizer).__name__} goes over whole tables: choose one of '
                f'{", ".join(OPTIMIZERS)}.')
        self._rate = rate_before_schedule(optimizer)
        self._optimizer = type(optimizer)(**{
            name: value for name, value in optimizer.get_config().items()
            if name not in _GIVEN})

    def begin(self, iterations: tf.Tensor, factor: tf.Tensor | float = 1.0) -> None:
        """What comes before a step's first variable; in every graph that applies the rule.

        Args:
            iterations: steps before this one.
            factor: of the learning rate, by which the step's follows a schedule.
        """
        # Its own variables would be the chief's, read over the network at every step.
        self._optimizer._iterations = iterations
        self._optimizer._learning_rate = self._rate * factor
        self._optimizer._constants = self._optimizer.constants()

    def prepared(self, gradients: Sequence[Gradient]) -> list[Gradient]:
        """A step's gradients as the optimizer clips them, and with each row once."""
        optimizer, there = self._optimizer, [each for each in gradients if each is not None]
        done = iter(optimizer._deduplicate_sparse_grad(optimizer._clip_gradients(there)))
        return [None if each is None else next(done) for each in gradients]

    def __call__(self, gradient: Gradient, variables: Sequence[tf.Variable]) -> None:
        """Moves the first variable by its gradient, the others being its slots.

        Args:
            gradient: of a value, or of some of its rows, each of which is there once.
            variables: of one shape.
        """
        if isinstance(gradient, tf.IndexedSlices):
            self._optimizer.apply_to_rows(gradient, variables)
        elif gradient is not None:
            self._optimizer.apply(gradient, *(each.handle for each in variables))

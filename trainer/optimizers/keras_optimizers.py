"""Keras's own optimizers, by name, with their options.

Each treats the gradient of an embedding (`tf.IndexedSlices`) as Keras does: Adam's relatives
decay the moments of every row at every step, and move rows that are not in the batch; FTRL and
Adafactor update the whole table. The cost of a step then grows with the vocabulary, and a
snapshot (`trainer.frameworks.core.snapshot`) has to copy whole tables. The row-wise optimizers
of `trainer.optimizers.row_wise` avoid both.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mdctr.errors import UserError
from mdctr.registry import load_user_component, unknown_name
from trainer.keras import keras, tf

_PREFIX = 'keras_'  # for those that have a row-wise optimizer of the same name
# Set by the run, or without effect here, because moving averages are never copied to the model.
_NOT_OPTIONS = {
    'self',
    'learning_rate',
    'name',
    'kwargs',
    'jit_compile',
    'use_ema',
    'ema_momentum',
    'ema_overwrite_frequency',
}


def make_keras_optimizer(
    name: str, learning_rate: Any, options: Mapping[str, Any], known: Sequence[str] = ()
) -> keras.optimizers.Optimizer:
    """Makes a Keras optimizer.

    Args:
        name: Name of a class of `tf_keras.optimizers`, in any case, with or without the prefix
            `keras_`; or `module:Class` of a subclass of Keras's `Optimizer`.
        learning_rate: Learning rate, a number or a Keras schedule.
        options: Arguments of the class, by name.
        known: Names that an error lists before those of Keras.

    Raises:
        UserError: There is no such optimizer or option, the class rejects a value, or its state
            cannot be restored from a checkpoint.
    """
    optimizer_class, is_foreign = check_keras_optimizer(name, options, known)

    def make() -> keras.optimizers.Optimizer:
        optimizer = optimizer_class(learning_rate=learning_rate, **options)
        optimizer.jit_compile = False  # the sparse gradients of embeddings have no fixed shape
        return optimizer

    try:
        optimizer = make()
    except (TypeError, ValueError) as error:
        raise UserError(f'The optimizer {name} rejects its options: {error}') from error
    if is_foreign:
        _check_restored(name, make)
    return optimizer


def check_keras_optimizer(
    name: str, options: Mapping[str, Any], known: Sequence[str] = ()
) -> tuple[type[keras.optimizers.Optimizer], bool]:
    """Returns the class of an optimizer, and whether it is a user's own.

    Args:
        name: Name of the optimizer, as for `make_keras_optimizer`.
        options: Its hyper-parameters, of which only the names are checked.
        known: Names that an error lists before those of Keras.

    Raises:
        UserError: There is no such optimizer, or it does not take an option.
    """
    optimizer_class, is_foreign = _find_class(name, known)
    parameters = inspect.signature(optimizer_class).parameters
    if 'learning_rate' not in parameters and 'kwargs' not in parameters:
        raise UserError(
            f'The optimizer {name} cannot be constructed: its constructor must accept '
            'learning_rate, as those of Keras.'
        )
    check_options(name, options, [key for key in parameters if key not in _NOT_OPTIONS])
    return optimizer_class, is_foreign


def check_options(
    name: str, options: Mapping[str, Any], known: Sequence[str], hint: str = ''
) -> None:
    """Raises a UserError, ending with `hint`, if an option is not among the known ones."""
    for option in options:
        if option not in known:
            raise UserError(
                f'The optimizer {name} does not accept the option {option}; it accepts '
                f'{", ".join(known)}{hint}.'
            )


def slot_variables(optimizer: keras.optimizers.Optimizer) -> list[tf.Variable]:
    """Returns the variables of a built optimizer except its hyper-parameters and its step."""
    variables: dict[int, tf.Variable] = {}
    for name, value in vars(optimizer).items():
        if 'learning_rate' not in name:
            variables.update((id(variable), variable) for variable in _variables_in(value))
    variables.pop(id(optimizer.iterations), None)
    return [slot for slot in variables.values() if 'learning_rate' not in slot.name]


@keras.utils.register_keras_serializable('mdctr')
class Nadam(keras.optimizers.Nadam):
    """Keras's Nadam, with its product over the steps updated once per step.

    Keras counts in Python whether a step has updated the product, which in a `tf.function`
    happens only while the function is traced: there the product is updated once per variable,
    and a restored optimizer starts to count again. Keras does not save the product with a
    model either.
    """

    def build(self, var_list: list[tf.Variable]) -> None:
        super().build(var_list)
        if not any(variable is self._u_product for variable in self._variables):
            self._variables.append(self._u_product)

    def _internal_apply_gradients(self, grads_and_vars: Any) -> tf.Tensor:
        step = tf.cast(self.iterations + 1, self._u_product.dtype)
        self._u_product.assign(self._u_product * self.beta_1 * (1.0 - 0.5 * tf.pow(0.96, step)))
        self._u_product_counter = _AlwaysEqual()
        return super()._internal_apply_gradients(grads_and_vars)


class _AlwaysEqual:
    """A counter that says that this step has been counted."""

    def __eq__(self, other: object) -> tf.Tensor:
        return tf.constant(True)

    def __hash__(self) -> int:
        return 0

    def __add__(self, other: int) -> _AlwaysEqual:
        return self


def _classes() -> dict[str, type[keras.optimizers.Optimizer]]:
    """Keras's optimizers by name in lower case."""
    classes = {
        name.lower(): value
        for name, value in vars(keras.optimizers).items()
        if _is_optimizer(value) and value is not keras.optimizers.Optimizer
    }
    return {**classes, 'nadam': Nadam}


def _find_class(
    name: str, known: Sequence[str]
) -> tuple[type[keras.optimizers.Optimizer], bool]:
    """Returns the class, and whether it is not one of Keras's."""
    classes = _classes()
    plain = name.lower().removeprefix(_PREFIX)
    if plain in classes:
        return classes[plain], False
    if ':' not in name:
        names = [*known, *(other for other in sorted(classes) if other not in known)]
        raise UserError(unknown_name('optimizer', name, names))
    value = load_user_component('optimizer', name)
    if not _is_optimizer(value):
        raise UserError(
            f'{name} is not an optimizer: make it a subclass of tf_keras.optimizers.Optimizer '
            '(not of the legacy optimizer).'
        )
    return value, True


def _is_optimizer(value: Any) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, keras.optimizers.Optimizer)
        and not issubclass(value, keras.mixed_precision.LossScaleOptimizer)
    )


def _variables_in(value: Any) -> Iterator[tf.Variable]:
    if isinstance(value, tf.Variable):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _variables_in(item)


class _Trial:
    """An optimizer with two variables, to try whether a checkpoint restores its state."""

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self.optimizer = optimizer
        self.variables = [tf.Variable(tf.ones([2, 3])), tf.Variable([0.5])]
        optimizer.build(self.variables)
        self.checkpoint = tf.train.Checkpoint(optimizer=optimizer, values=self.variables)

    def step(self, number: int) -> None:
        self.optimizer.apply_gradients(
            [(tf.fill(var.shape, 0.1 * (number + 1)), var) for var in self.variables]
        )


def _check_restored(name: str, make: Callable[[], keras.optimizers.Optimizer]) -> None:
    """Takes two steps, saves, restores another optimizer, and takes the third step in both."""
    trial, restored = _Trial(make()), _Trial(make())
    for number in range(2):
        trial.step(number)
    with tempfile.TemporaryDirectory() as directory:
        restored.checkpoint.read(trial.checkpoint.write(os.path.join(directory, 'state')))
    trial.step(2)
    restored.step(2)
    if not all(
        np.allclose(expected, value, atol=1e-7)
        for expected, value in zip(trial.variables, restored.variables, strict=True)
    ):
        raise UserError(
            f'The optimizer {name} has state that a checkpoint does not restore, so that a run '
            'could not be resumed: keep it in tf.Variable attributes, or choose another '
            'optimizer.'
        )

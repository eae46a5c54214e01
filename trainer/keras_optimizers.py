"""Keras's own optimizers, by name, with their options.

Of an embedding's gradient (`tf.IndexedSlices`) each makes what Keras makes of it: Adam's
relatives decay the moments of every row at every step and move rows that the batch did not
hold, and FTRL and Adafactor go over the whole table. A step then costs in proportion to the
vocabulary, and a snapshot of it (`trainer.frameworks.core`) is of whole tables. The row-wise
ones of `trainer.optimizers` do neither.
"""

from __future__ import annotations

import importlib
import inspect
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from beam_jobs.errors import UserError
from trainer.keras import keras, tf

_PREFIX = 'keras_'  # of those that have a row-wise optimizer of the same name
# Set by the run, or without an effect here: nobody puts moving averages into the model.
_NOT_OPTIONS = {'self', 'learning_rate', 'name', 'kwargs', 'jit_compile', 'use_ema',
                'ema_momentum', 'ema_overwrite_frequency'}


def make_keras_optimizer(name: str, learning_rate: Any, options: Mapping[str, Any],
                         known: Sequence[str] = ()) -> keras.optimizers.Optimizer:
    """A Keras optimizer.

    Args:
        name: of a class of `tf_keras.optimizers`, in any case and with or without `keras_`
            before it; or `module:Class` of a subclass of Keras's `Optimizer`.
        learning_rate: a number or a Keras schedule.
        options: of the class, by name.
        known: names that an error lists before those of Keras.

    Raises:
        UserError: no such optimizer or option, a value that it refuses, or a state that
            checkpoints cannot restore.
    """
    made, foreign = _class_of(name, known)
    check_options(name, options, [
        option for option in inspect.signature(made.__init__).parameters
        if option not in _NOT_OPTIONS])

    def make():
        return made(learning_rate=learning_rate, **options)
    try:
        optimizer = make()
    except (TypeError, ValueError) as error:
        raise UserError(f'The optimizer {name} refuses its options: {error}') from error
    optimizer.jit_compile = False  # the sparse gradients of embeddings have no fixed shape
    if foreign:
        _check_restored(name, make)
    return optimizer


def check_options(name: str, options: Mapping[str, Any], known: Sequence[str],
                  hint: str = '') -> None:
    """Raises a UserError, `hint` in it, where an option is not among the known ones."""
    for option in options:
        if option not in known:
            raise UserError(f'The optimizer {name} does not take the option {option}; it takes '
                            f'{", ".join(known)}{hint}.')


def state_of(optimizer: keras.optimizers.Optimizer) -> list[tf.Variable]:
    """What an optimizer has beside its hyper-parameters and its step, once it is built."""
    found: dict[int, tf.Variable] = {}
    for name, value in vars(optimizer).items():
        if 'learning_rate' not in name:
            found.update((id(each), each) for each in _variables(value))
    found.pop(id(optimizer.iterations), None)
    return [each for each in found.values() if 'learning_rate' not in each.name]


class Nadam(keras.optimizers.Nadam):
    """Keras's Nadam, with its product over the steps multiplied once a step.

    Keras counts in Python whether a step has done so, which in a `tf.function` counts when
    the function is traced: there the product is multiplied once for every variable, and a
    restored optimizer starts to count anew.
    """

    def _internal_apply_gradients(self, grads_and_vars: Any) -> tf.Tensor:
        step = tf.cast(self.iterations + 1, self._u_product.dtype)
        self._u_product.assign(
            self._u_product * self.beta_1 * (1.0 - 0.5 * tf.pow(0.96, step)))
        self._u_product_counter = _Counted()
        return super()._internal_apply_gradients(grads_and_vars)


class _Counted:
    """A count that is the step's already."""

    def __eq__(self, other: object) -> tf.Tensor:
        return tf.constant(True)

    __hash__ = None

    def __add__(self, other: int) -> _Counted:
        return self


def _classes() -> dict[str, type]:
    found = {name.lower(): each for name, each in vars(keras.optimizers).items()
             if _is_optimizer(each) and each is not keras.optimizers.Optimizer}
    return {**found, 'nadam': Nadam}


def _class_of(name: str, known: Sequence[str]) -> tuple[type, bool]:
    """The class, and whether it is none of Keras's."""
    classes = _classes()
    plain = name.lower().removeprefix(_PREFIX)
    if plain in classes:
        return classes[plain], False
    if ':' not in name:
        names = [*known, *(each for each in sorted(classes) if each not in known)]
        raise UserError(f'There is no optimizer {name}; there are {", ".join(names)}, and '
                        'module:Class for one of your own.')
    module, attribute = name.split(':', 1)
    try:
        made = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f'There is no optimizer {name} ({error}).') from error
    if not _is_optimizer(made):
        raise UserError(f'{name} is no optimizer: it must be a subclass of '
                        'tf_keras.optimizers.Optimizer, and not of the legacy one.')
    return made, True


def _is_optimizer(value: Any) -> bool:
    return (isinstance(value, type) and issubclass(value, keras.optimizers.Optimizer)
            and not issubclass(value, keras.mixed_precision.LossScaleOptimizer))


def _variables(value: Any) -> Iterator[tf.Variable]:
    if isinstance(value, tf.Variable):
        yield value
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _variables(each)


def _check_restored(name: str, make: Any) -> None:
    """Takes two steps, saves, restores, and takes a third in both."""
    def step(optimizer, variables, number):
        optimizer.apply_gradients([(tf.fill(each.shape, 0.1 * (number + 1)), each)
                                   for each in variables])

    def state():
        optimizer = make()
        optimizer.jit_compile = False
        variables = [tf.Variable(tf.ones([2, 3])), tf.Variable([0.5])]
        optimizer.build(variables)
        return optimizer, variables, tf.train.Checkpoint(optimizer=optimizer, values=variables)
    one, other = state(), state()
    for number in range(2):
        step(*one[:2], number)
    with tempfile.TemporaryDirectory() as directory:
        other[2].read(one[2].write(os.path.join(directory, 'state')))
    for optimizer, variables, _ in (one, other):
        step(optimizer, variables, 2)
    if not all(np.allclose(mine, restored, atol=1e-7) for mine, restored
               in zip(one[1], other[1], strict=True)):
        raise UserError(f'The optimizer {name} has state that a checkpoint does not restore, '
                        'so that a run could not be continued: keep it in tf.Variable '
                        'attributes, or choose another optimizer.')

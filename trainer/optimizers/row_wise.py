"""Optimizers that update only the rows that a batch touched, by name.

Keras's own Adam decays the moments of every row of an embedding at every step, and so moves
rows, and whole domains, that are not in the batch, at a cost that grows with the vocabulary.
`trainer.optimizers.keras_optimizers` makes Keras's own optimizers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mdctr.errors import UserError
from trainer.keras import keras, tf
from trainer.optimizers.keras_optimizers import (
    check_keras_optimizer,
    check_options,
    make_keras_optimizer,
)
from trainer.optimizers.row_optimizer import RowOptimizer

_CLIPPING = ('clipnorm', 'clipvalue', 'global_clipnorm')


@keras.utils.register_keras_serializable('mdctr')
class SGD(RowOptimizer):
    """w <- w - r g."""

    def rule(
        self, value: tf.Tensor, gradient: tf.Tensor, *slots: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        return (value - self._rate(value) * gradient,)


@keras.utils.register_keras_serializable('mdctr')
class Momentum(RowOptimizer):
    """v <- m v - r g; w <- w + v. A row keeps its velocity while no batch has the row."""

    SLOTS: ClassVar = {'velocity': 0.0}
    OPTIONS: ClassVar = {'momentum': 0.9}

    momentum: float

    def rule(
        self, value: tf.Tensor, gradient: tf.Tensor, *slots: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        (velocity,) = slots
        velocity = self.momentum * velocity - self._rate(value) * gradient
        return value + velocity, velocity


@keras.utils.register_keras_serializable('mdctr')
class Adagrad(RowOptimizer):
    """a <- a + g^2; w <- w - r g / sqrt(a + e)."""

    OPTIONS: ClassVar = {'initial_accumulator_value': 0.1, 'epsilon': 1e-7}

    initial_accumulator_value: float
    epsilon: float

    def initial_slots(self) -> dict[str, float]:
        return {'accumulator': self.initial_accumulator_value}

    def rule(
        self, value: tf.Tensor, gradient: tf.Tensor, *slots: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        (accumulator,) = slots
        accumulator += tf.square(gradient)
        step = self._rate(value) * gradient * tf.math.rsqrt(accumulator + self.epsilon)
        return value - step, accumulator


@keras.utils.register_keras_serializable('mdctr')
class RMSprop(RowOptimizer):
    """v <- d v + (1 - d) g^2; w <- w - r g / sqrt(v + e)."""

    SLOTS: ClassVar = {'velocity': 0.0}
    OPTIONS: ClassVar = {'rho': 0.9, 'epsilon': 1e-7}

    rho: float
    epsilon: float

    def rule(
        self, value: tf.Tensor, gradient: tf.Tensor, *slots: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        (velocity,) = slots
        velocity = self.rho * velocity + (1 - self.rho) * tf.square(gradient)
        step = self._rate(value) * gradient * tf.math.rsqrt(velocity + self.epsilon)
        return value - step, velocity


@keras.utils.register_keras_serializable('mdctr')
class Adam(RowOptimizer):
    """Adam; the bias correction of every row is that of the optimizer's step."""

    SLOTS: ClassVar = {'m': 0.0, 'v': 0.0}
    OPTIONS: ClassVar = {'beta_1': 0.9, 'beta_2': 0.999, 'epsilon': 1e-7}

    beta_1: float
    beta_2: float
    epsilon: float

    def constants(self) -> dict[str, tf.Tensor]:
        step = tf.cast(self.iterations + 1, tf.float32)
        return {
            **super().constants(),
            'beta1_power': tf.pow(self.beta_1, step),
            'beta2_power': tf.pow(self.beta_2, step),
        }

    def apply(self, gradient: tf.Tensor, value: tf.Tensor, *slots: tf.Tensor) -> None:
        m, v = slots
        powers = {
            name: tf.cast(self._constants[name], gradient.dtype)
            for name in ('beta1_power', 'beta2_power')
        }
        tf.raw_ops.ResourceApplyAdam(
            var=value,
            m=m,
            v=v,
            **powers,
            lr=self._rate(gradient),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


OPTIMIZERS: dict[str, type[RowOptimizer]] = {
    'sgd': SGD,
    'momentum': Momentum,
    'adam': Adam,
    'adagrad': Adagrad,
    'rmsprop': RMSprop,
}


def check_optimizer(name: str, options: Mapping[str, Any]) -> None:
    """Checks the name and the options of an optimizer without making one.

    Args:
        name: Name of the optimizer, as for `make_optimizer`.
        options: Its hyper-parameters, whose values are not checked.

    Raises:
        UserError: There is no optimizer of this name, or it does not take the options.
    """
    if name not in OPTIMIZERS:
        check_keras_optimizer(name, options, known=list(OPTIMIZERS))
        return
    check_options(
        name,
        options,
        [*OPTIMIZERS[name].OPTIONS, *_CLIPPING],
        f" (Keras's own is keras_{name})" if name != 'momentum' else '',
    )


def make_optimizer(
    name: str, learning_rate: Any, options: Mapping[str, Any] | None = None
) -> keras.optimizers.Optimizer:
    """Makes the optimizer of this name.

    Args:
        name: One of `OPTIMIZERS`, which update only the touched rows; the name of another Keras
            optimizer, or `keras_<name>` for Keras's own of the same name; or `module:Class`.
        learning_rate: Learning rate, a number or a Keras schedule.
        options: Hyper-parameters by Keras's names, and `clipnorm`, `clipvalue` or
            `global_clipnorm`.

    Raises:
        UserError: There is no optimizer of this name, or it does not accept the options.
    """
    options = dict(options or {})
    if name not in OPTIMIZERS:
        return make_keras_optimizer(name, learning_rate, options, known=list(OPTIMIZERS))
    check_optimizer(name, options)
    try:
        return OPTIMIZERS[name](learning_rate, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f'The optimizer {name} rejects its options: {error}') from error

"""Keras optimizers that move only the rows that a batch touched.

Keras's own Adam decays the moments of every row of an embedding at every step and so moves
rows, and whole domains, that the batch did not hold, at a cost that follows the vocabulary.
Here a sparse gradient (`tf.IndexedSlices`) reads and writes its own rows alone: of the
variable and of every slot. Duplicates of a row are summed first. Dense gradients are applied
as Keras does. Of all other optimizers, `trainer.keras_optimizers` makes Keras's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from beam_jobs.errors import UserError
from trainer.keras import keras, tf
from trainer.keras_optimizers import check_options, make_keras_optimizer
from trainer.row_gradients import WIDE_ROW, SomeRowsOf, sum_rows

_CLIPPING = ('clipnorm', 'clipvalue', 'global_clipnorm')
# TensorFlow's name for a resource that nobody else can find.
_ANONYMOUS = 'cd2c89b7-88b7-44c8-ad83-06c2a9158347'


class RowOptimizer(keras.optimizers.Optimizer):
    """An optimizer given by a rule for a block of values, be it a variable or some rows.

    Subclasses name their slots with the slots' initial values, and their hyper-parameters,
    which become attributes, with those of Keras, and write `rule`.

    Args:
        learning_rate: a number or a Keras schedule.
        kwargs: of `OPTIONS`, and of Keras's base class.
    """

    SLOTS: ClassVar[dict[str, float]] = {}
    OPTIONS: ClassVar[dict[str, float]] = {}

    def __init__(self, learning_rate: Any = 0.001, **kwargs: Any):
        for name, value in self.OPTIONS.items():
            setattr(self, name, float(kwargs.pop(name, value)))
        # Keras decays every weight of every variable at each step, even by 0, unless told None.
        super().__init__(name=type(self).__name__.lower(), jit_compile=False,
                         **{'weight_decay': None, **kwargs})
        self._learning_rate = self._build_learning_rate(learning_rate)

    def build(self, var_list: list[tf.Variable]) -> None:
        super().build(var_list)
        if getattr(self, '_built', False):
            return
        self._slots = [[self.add_variable_from_reference(
            variable, name, initial_value=tf.fill(variable.shape, tf.cast(
                initial, variable.dtype))) for variable in var_list]
            for name, initial in self.initial_slots().items()]
        self._built = True

    def initial_slots(self) -> dict[str, float]:
        """What the slots start from, by name."""
        return self.SLOTS

    def slots_of(self, variable: tf.Variable) -> list[tuple[tf.Variable, float]]:
        """The slots of a variable, each with the value that it starts from."""
        place = self._index_dict[self._var_key(variable)]
        return [(slot[place], initial) for slot, initial
                in zip(self._slots, self.initial_slots().values(), strict=True)]

    def rule(self, value: tf.Tensor, gradient: tf.Tensor,
             *slots: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The new value and the new slots, of the same shapes."""
        raise NotImplementedError

    def apply(self, gradient: tf.Tensor, value: tf.Tensor, *slots: tf.Tensor) -> None:
        """Moves variables, given by their resource handles, by a dense gradient.

        This applies `rule`; a subclass may call one of TensorFlow's fused kernels instead,
        which go over the memory once.
        """
        handles = (value, *slots)
        old = [tf.raw_ops.ReadVariableOp(resource=handle, dtype=gradient.dtype)
               for handle in handles]
        for handle, new in zip(handles, self.rule(old[0], gradient, *old[1:]), strict=True):
            tf.raw_ops.AssignVariableOp(resource=handle, value=new)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices,
                    variable: tf.Variable) -> None:
        place = self._index_dict[self._var_key(variable)]
        variables = [variable, *(slot[place] for slot in self._slots)]
        if not isinstance(gradient, tf.IndexedSlices):
            self.apply(gradient, *(each.handle for each in variables))
            return
        # Each row is there once: Keras has called `_deduplicate_sparse_grad`.
        if variable.shape[1:].num_elements() < WIDE_ROW or gradient.indices.shape[0] == 1:
            self.apply_to_rows(gradient, variables)
            return
        # A mixed batch holds most domains: their weights are better moved where they are,
        # than copied out and back.
        tf.cond(3 * tf.size(gradient.indices) > 2 * variable.shape[0],
                lambda: self._apply_to_all(gradient, variables),
                lambda: self.apply_to_rows(gradient, variables))

    def apply_to_rows(self, gradient: tf.IndexedSlices, variables: list[tf.Variable]) -> None:
        """Moves copies of the rows, and puts them back."""
        copies = [_temporary(tf.gather(each, gradient.indices)) for each in variables]
        with tf.control_dependencies([made for _, made in copies]):
            self.apply(gradient.values, *(handle for handle, _ in copies))
        for each, (handle, _) in zip(variables, copies, strict=True):
            new = tf.raw_ops.ReadVariableOp(resource=handle, dtype=each.dtype)
            each.scatter_update(tf.IndexedSlices(new, gradient.indices))

    def _apply_to_all(self, gradient: tf.IndexedSlices, variables: list[tf.Variable]) -> None:
        """Moves every row, and puts back those that have no gradient.

        Where those have never been moved, like an unseen domain's, the rule leaves them where
        they are: no gradient, and slots as at the start, are no step. Then nothing is put back,
        which matters beyond the work: once rows of a variable have been gathered or scattered,
        TensorFlow copies the whole of it whenever it is read.
        """
        rows = gradient.indices
        untouched = tf.tensor_scatter_nd_update(
            tf.ones(variables[0].shape[:1], tf.bool), rows[:, None],
            tf.zeros(tf.shape(rows), tf.bool))
        others = tf.cast(tf.where(untouched)[:, 0], rows.dtype)
        dense = (gradient.whole if isinstance(gradient, SomeRowsOf) else
                 tf.scatter_nd(rows[:, None], gradient.values, variables[0].shape))
        dense = tf.ensure_shape(dense, variables[0].shape)
        handles = [each.handle for each in variables]

        def move():
            self.apply(dense, *handles)
            return True

        def move_and_put_back():
            before = [tf.gather(each, others) for each in variables]
            with tf.control_dependencies(before):
                move()
            for each, values in zip(variables, before, strict=True):
                each.scatter_update(tf.IndexedSlices(values, others))
            return True
        never_moved = [tf.reduce_all(tf.gather(slot, others) == initial) for slot, initial
                       in zip(variables[1:], self.initial_slots().values(), strict=True)]
        tf.cond(tf.reduce_all(never_moved), move, move_and_put_back)

    def _deduplicate_sparse_grad(self, grads: list[Any]) -> list[Any]:
        return [sum_rows(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient
                for gradient in grads]

    def constants(self) -> dict[str, tf.Tensor]:
        """What is the same for all variables of a step, computed once for them."""
        return {'rate': tf.cast(self.learning_rate, tf.float32)}

    def _internal_apply_gradients(self, grads_and_vars: Any) -> tf.Tensor:
        self._constants = self.constants()
        return super()._internal_apply_gradients(grads_and_vars)

    def _rate(self, value: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._constants['rate'], value.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **{name: getattr(self, name) for name in self.OPTIONS},
                'learning_rate': self._serialize_hyperparameter(self._learning_rate)}


@keras.utils.register_keras_serializable('mdctr')
class SGD(RowOptimizer):
    """w <- w - r g."""

    def rule(self, value, gradient):
        return (value - self._rate(value) * gradient,)


@keras.utils.register_keras_serializable('mdctr')
class Momentum(RowOptimizer):
    """v <- m v - r g; w <- w + v. A row's velocity rests while no batch holds the row."""

    SLOTS: ClassVar = {'velocity': 0.0}
    OPTIONS: ClassVar = {'momentum': 0.9}

    def rule(self, value, gradient, velocity):
        velocity = self.momentum * velocity - self._rate(value) * gradient
        return value + velocity, velocity


@keras.utils.register_keras_serializable('mdctr')
class Adagrad(RowOptimizer):
    """a <- a + g^2; w <- w - r g / sqrt(a + e)."""

    OPTIONS: ClassVar = {'initial_accumulator_value': 0.1, 'epsilon': 1e-7}

    def initial_slots(self):
        return {'accumulator': self.initial_accumulator_value}

    def rule(self, value, gradient, accumulator):
        accumulator += tf.square(gradient)
        step = self._rate(value) * gradient * tf.math.rsqrt(accumulator + self.epsilon)
        return value - step, accumulator


@keras.utils.register_keras_serializable('mdctr')
class RMSprop(RowOptimizer):
    """v <- d v + (1 - d) g^2; w <- w - r g / sqrt(v + e)."""

    SLOTS: ClassVar = {'velocity': 0.0}
    OPTIONS: ClassVar = {'rho': 0.9, 'epsilon': 1e-7}

    def rule(self, value, gradient, velocity):
        velocity = self.rho * velocity + (1 - self.rho) * tf.square(gradient)
        step = self._rate(value) * gradient * tf.math.rsqrt(velocity + self.epsilon)
        return value - step, velocity


@keras.utils.register_keras_serializable('mdctr')
class Adam(RowOptimizer):
    """Adam, with the bias correction of the optimizer's step for every row."""

    SLOTS: ClassVar = {'m': 0.0, 'v': 0.0}
    OPTIONS: ClassVar = {'beta_1': 0.9, 'beta_2': 0.999, 'epsilon': 1e-7}

    def constants(self):
        step = tf.cast(self.iterations + 1, tf.float32)
        return {**super().constants(), 'beta1_power': tf.pow(self.beta_1, step),
                'beta2_power': tf.pow(self.beta_2, step)}

    def apply(self, gradient, value, m, v):
        powers = {name: tf.cast(self._constants[name], gradient.dtype)
                  for name in ('beta1_power', 'beta2_power')}
        tf.raw_ops.ResourceApplyAdam(
            var=value, m=m, v=v, **powers, lr=self._rate(gradient), beta1=self.beta_1,
            beta2=self.beta_2, epsilon=self.epsilon, grad=gradient)


OPTIMIZERS = {'sgd': SGD, 'momentum': Momentum, 'adam': Adam, 'adagrad': Adagrad,
              'rmsprop': RMSprop}


def make_optimizer(name: str, learning_rate: Any,
                   options: Mapping[str, Any] | None = None) -> keras.optimizers.Optimizer:
    """The optimizer of this name.

    Args:
        name: one of `OPTIMIZERS`, which move rows alone; or of Keras's others, or
            `keras_<name>` for Keras's own of the same name, or `module:Class`.
        learning_rate: a number or a Keras schedule.
        options: its hyper-parameters, by Keras's names, and `clipnorm`, `clipvalue` or
            `global_clipnorm`.

    Raises:
        UserError: there is none of this name, or it does not take the options.
    """
    options = dict(options or {})
    if name not in OPTIMIZERS:
        return make_keras_optimizer(name, learning_rate, options, known=list(OPTIMIZERS))
    made = OPTIMIZERS[name]
    check_options(name, options, [*made.OPTIONS, *_CLIPPING],
                  f' (Keras\'s own is keras_{name})' if name != 'momentum' else '')
    try:
        return made(learning_rate, **options)
    except (TypeError, ValueError) as error:
        raise UserError(f'The optimizer {name} refuses its options: {error}') from error


def _temporary(values: tf.Tensor) -> tuple[tf.Tensor, tf.Operation]:
    """A variable that lives for one step: its handle, and the operation that fills it."""
    handle = tf.raw_ops.VarHandleOp(
        dtype=values.dtype, shape=values.shape, shared_name=_ANONYMOUS)
    return handle, tf.raw_ops.AssignVariableOp(resource=handle, value=values)

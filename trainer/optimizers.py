"""Keras optimizers that move only the rows that a batch touched.

Keras's own Adam decays the moments of every row of an embedding at every step and so moves
rows, and whole domains, that the batch did not hold, at a cost that follows the vocabulary.
Here a sparse gradient (`tf.IndexedSlices`) reads and writes its own rows alone: of the
variable and of every slot. Duplicates of a row are summed first. Dense gradients are applied
as Keras does.
"""

from __future__ import annotations

from typing import Any, ClassVar

from beam_jobs.errors import UserError
from trainer.keras import keras, tf

_WIDE_ROW = 1024
# TensorFlow's name for a resource that nobody else can find.
_ANONYMOUS = 'cd2c89b7-88b7-44c8-ad83-06c2a9158347'


class RowOptimizer(keras.optimizers.Optimizer):
    """An optimizer given by a rule for a block of values, be it a variable or some rows.

    Subclasses name their slots with the slots' initial values, and write `rule`.

    Args:
        learning_rate: a number or a Keras schedule.
    """

    SLOTS: ClassVar[dict[str, float]] = {}

    def __init__(self, learning_rate: Any = 0.001, **kwargs: Any):
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
            for name, initial in self.SLOTS.items()]
        self._built = True

    def slots_of(self, variable: tf.Variable) -> list[tuple[tf.Variable, float]]:
        """The slots of a variable, each with the value that it starts from."""
        place = self._index_dict[self._var_key(variable)]
        return [(slot[place], initial) for slot, initial
                in zip(self._slots, self.SLOTS.values(), strict=True)]

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
        if variable.shape[1:].num_elements() < _WIDE_ROW:
            self._apply_to_rows(gradient, variables)
            return
        # A mixed batch holds most domains: their weights are better moved where they are,
        # than copied out and back.
        tf.cond(3 * tf.size(gradient.indices) > 2 * variable.shape[0],
                lambda: self._apply_to_all(gradient, variables),
                lambda: self._apply_to_rows(gradient, variables))

    def _apply_to_rows(self, gradient: tf.IndexedSlices, variables: list[tf.Variable]) -> None:
        """Moves copies of the rows, and puts them back."""
        copies = [_temporary(tf.gather(each, gradient.indices)) for each in variables]
        with tf.control_dependencies([made for _, made in copies]):
            self.apply(gradient.values, *(handle for handle, _ in copies))
        for each, (handle, _) in zip(variables, copies, strict=True):
            new = tf.raw_ops.ReadVariableOp(resource=handle, dtype=each.dtype)
            each.scatter_update(tf.IndexedSlices(new, gradient.indices))

    def _apply_to_all(self, gradient: tf.IndexedSlices, variables: list[tf.Variable]) -> None:
        """Moves every row, and puts back those that have no gradient."""
        rows = gradient.indices
        untouched = tf.tensor_scatter_nd_update(
            tf.ones(variables[0].shape[:1], tf.bool), rows[:, None],
            tf.zeros(tf.shape(rows), tf.bool))
        others = tf.cast(tf.where(untouched)[:, 0], rows.dtype)
        before = [tf.gather(each, others) for each in variables]
        dense = tf.dynamic_stitch(
            [tf.cast(rows, tf.int32), tf.cast(others, tf.int32)],
            [gradient.values, tf.zeros_like(before[0], gradient.values.dtype)])
        with tf.control_dependencies(before):
            self.apply(tf.ensure_shape(dense, variables[0].shape),
                       *(each.handle for each in variables))
        for each, values in zip(variables, before, strict=True):
            each.scatter_update(tf.IndexedSlices(values, others))

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
        return {**super().get_config(),
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
    MOMENTUM = 0.9

    def rule(self, value, gradient, velocity):
        velocity = self.MOMENTUM * velocity - self._rate(value) * gradient
        return value + velocity, velocity


@keras.utils.register_keras_serializable('mdctr')
class Adagrad(RowOptimizer):
    """a <- a + g^2; w <- w - r g / sqrt(a + e)."""

    SLOTS: ClassVar = {'accumulator': 0.1}
    EPSILON = 1e-7

    def rule(self, value, gradient, accumulator):
        accumulator += tf.square(gradient)
        step = self._rate(value) * gradient * tf.math.rsqrt(accumulator + self.EPSILON)
        return value - step, accumulator


@keras.utils.register_keras_serializable('mdctr')
class RMSprop(RowOptimizer):
    """v <- d v + (1 - d) g^2; w <- w - r g / sqrt(v + e)."""

    SLOTS: ClassVar = {'velocity': 0.0}
    DECAY, EPSILON = 0.9, 1e-7

    def rule(self, value, gradient, velocity):
        velocity = self.DECAY * velocity + (1 - self.DECAY) * tf.square(gradient)
        step = self._rate(value) * gradient * tf.math.rsqrt(velocity + self.EPSILON)
        return value - step, velocity


@keras.utils.register_keras_serializable('mdctr')
class Adam(RowOptimizer):
    """Adam, with the bias correction of the optimizer's step for every row."""

    SLOTS: ClassVar = {'m': 0.0, 'v': 0.0}
    BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7

    def constants(self):
        step = tf.cast(self.iterations + 1, tf.float32)
        return {**super().constants(), 'beta1_power': tf.pow(self.BETA_1, step),
                'beta2_power': tf.pow(self.BETA_2, step)}

    def apply(self, gradient, value, m, v):
        powers = {name: tf.cast(self._constants[name], gradient.dtype)
                  for name in ('beta1_power', 'beta2_power')}
        tf.raw_ops.ResourceApplyAdam(
            var=value, m=m, v=v, **powers, lr=self._rate(gradient), beta1=self.BETA_1,
            beta2=self.BETA_2, epsilon=self.EPSILON, grad=gradient)


OPTIMIZERS = {'sgd': SGD, 'momentum': Momentum, 'adam': Adam, 'adagrad': Adagrad,
              'rmsprop': RMSprop}


def make_optimizer(name: str, learning_rate: Any) -> RowOptimizer:
    """The optimizer of this name.

    Args:
        name: one of `OPTIMIZERS`.
        learning_rate: a number or a Keras schedule.

    Raises:
        UserError: there is none of this name.
    """
    if name not in OPTIMIZERS:
        raise UserError(f'There is no optimizer {name}; there are {", ".join(OPTIMIZERS)}.')
    return OPTIMIZERS[name](learning_rate)


def _temporary(values: tf.Tensor) -> tuple[tf.Tensor, tf.Operation]:
    """A variable that lives for one step: its handle, and the operation that fills it."""
    handle = tf.raw_ops.VarHandleOp(
        dtype=values.dtype, shape=values.shape, shared_name=_ANONYMOUS)
    return handle, tf.raw_ops.AssignVariableOp(resource=handle, value=values)


class RowsOnce(tf.IndexedSlices):
    """A gradient of rows of which each is there once, so that nobody needs to look again."""


def sum_rows(gradient: tf.IndexedSlices) -> RowsOnce:
    """The same gradient with every row once."""
    if isinstance(gradient, RowsOnce):
        return gradient
    if gradient.indices.shape[0] == 1:
        return RowsOnce(gradient.values, gradient.indices, gradient.dense_shape)
    rows, places = tf.unique(gradient.indices)

    each = tf.convert_to_tensor(gradient.values)

    def summed():
        return tf.math.unsorted_segment_sum(each, places, tf.size(rows))
    if each.shape[1:].num_elements() < _WIDE_ROW:
        values = summed()
    else:  # a domain's weights: one row a domain already, and costly to go over again
        values = tf.cond(tf.size(rows) < tf.size(gradient.indices), summed,
                         lambda: each)
    return RowsOnce(values, rows, gradient.dense_shape)

"""Base class of optimizers that update only the rows that a batch touched."""

from __future__ import annotations

from typing import Any, ClassVar

from trainer.keras import keras, tf
from trainer.optimizers.most_rows import update_most_rows
from trainer.optimizers.row_chunks import LARGE_VARIABLE, update_in_chunks
from trainer.optimizers.row_gradients import WIDE_ROW, deduplicate_rows

# TensorFlow's name for a resource that cannot be found by name.
_ANONYMOUS = 'cd2c89b7-88b7-44c8-ad83-06c2a9158347'


class RowOptimizer(keras.optimizers.Optimizer):
    """An optimizer given by an update rule for a block of values: a variable or some rows.

    A sparse gradient (`tf.IndexedSlices`) reads and writes only its own rows, of the variable
    and of every slot; occurrences of a row are summed first. Dense gradients are applied as
    Keras applies them.

    Subclasses declare their slots with initial values, and their hyper-parameters, which become
    attributes, under Keras's names, and implement `rule`.

    Args:
        learning_rate: Learning rate, a number or a Keras schedule.
        name: Name of the optimizer; the name of the class in lower case if None.
        kwargs: Hyper-parameters of `OPTIONS`, and arguments of Keras's base class.
    """

    SLOTS: ClassVar[dict[str, float]] = {}
    OPTIONS: ClassVar[dict[str, float]] = {}

    def __init__(self, learning_rate: Any = 0.001, name: str | None = None, **kwargs: Any):
        for option, default in self.OPTIONS.items():
            setattr(self, option, float(kwargs.pop(option, default)))
        kwargs.setdefault('weight_decay', None)  # else Keras decays every weight, even by 0
        kwargs['jit_compile'] = False  # sparse gradients have no fixed shape
        super().__init__(name=name or type(self).__name__.lower(), **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)

    def build(self, var_list: list[tf.Variable]) -> None:
        super().build(var_list)
        if getattr(self, '_built', False):
            return
        self._slots = [
            [
                self.add_variable_from_reference(
                    variable,
                    name,
                    initial_value=tf.fill(variable.shape, tf.cast(initial, variable.dtype)),
                )
                for variable in var_list
            ]
            for name, initial in self.initial_slots().items()
        ]
        self._built = True

    def initial_slots(self) -> dict[str, float]:
        """Returns the initial values of the slots, by name."""
        return self.SLOTS

    def slots_of(self, variable: tf.Variable) -> list[tuple[tf.Variable, float]]:
        """Returns the slots of a variable, each with its initial value."""
        position = self._index_dict[self._var_key(variable)]
        return [
            (slot[position], initial)
            for slot, initial in zip(self._slots, self.initial_slots().values(), strict=True)
        ]

    def rule(
        self, value: tf.Tensor, gradient: tf.Tensor, *slots: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        """Returns the new value and the new slots, of the same shapes."""
        raise NotImplementedError

    def apply(self, gradient: tf.Tensor, value: tf.Tensor, *slots: tf.Tensor) -> None:
        """Updates variables, given by their resource handles, by a dense gradient.

        This applies `rule`. A subclass may call one of TensorFlow's fused kernels instead,
        which read and write the memory once.
        """
        handles = (value, *slots)
        old = [
            tf.raw_ops.ReadVariableOp(resource=handle, dtype=gradient.dtype)
            for handle in handles
        ]
        for handle, new in zip(handles, self.rule(old[0], gradient, *old[1:]), strict=True):
            tf.raw_ops.AssignVariableOp(resource=handle, value=new)

    def update_step(
        self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable
    ) -> None:
        position = self._index_dict[self._var_key(variable)]
        variables = [variable, *(slot[position] for slot in self._slots)]
        if not isinstance(gradient, tf.IndexedSlices):
            self.apply(gradient, *(var.handle for var in variables))
            return
        # Row indices are unique: Keras has called `_deduplicate_sparse_grad`.
        if variable.shape[1:].num_elements() < WIDE_ROW or gradient.indices.shape[0] == 1:
            self.apply_to_rows(gradient, variables)
            return
        if variable.shape.num_elements() >= LARGE_VARIABLE:
            update_in_chunks(lambda rows: self.apply_to_rows(rows, variables), gradient)
            return
        # A mixed batch has most domains, whose weights are faster to update in place than to
        # copy out and back.
        tf.cond(
            3 * tf.size(gradient.indices) > 2 * variable.shape[0],
            lambda: update_most_rows(
                self.apply, gradient, variables, list(self.initial_slots().values())
            ),
            lambda: self.apply_to_rows(gradient, variables),
        )

    def apply_to_rows(self, gradient: tf.IndexedSlices, variables: list[tf.Variable]) -> None:
        """Updates copies of the rows, and writes them back."""
        copies = [_temporary(tf.gather(var, gradient.indices)) for var in variables]
        with tf.control_dependencies([assignment for _, assignment in copies]):
            self.apply(gradient.values, *(handle for handle, _ in copies))
        for variable, (handle, _) in zip(variables, copies, strict=True):
            new = tf.raw_ops.ReadVariableOp(resource=handle, dtype=variable.dtype)
            variable.scatter_update(tf.IndexedSlices(new, gradient.indices))

    def _deduplicate_sparse_grad(self, grads: list[Any]) -> list[Any]:
        return [
            deduplicate_rows(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient
            for gradient in grads
        ]

    def constants(self) -> dict[str, tf.Tensor]:
        """Values that are the same for all variables of a step, computed once per step."""
        return {'rate': tf.cast(self.learning_rate, tf.float32)}

    def _internal_apply_gradients(self, grads_and_vars: Any) -> tf.Tensor:
        self._constants = self.constants()
        return super()._internal_apply_gradients(grads_and_vars)

    def _rate(self, value: tf.Tensor) -> tf.Tensor:
        return tf.cast(self._constants['rate'], value.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **{name: getattr(self, name) for name in self.OPTIONS},
            'learning_rate': self._serialize_hyperparameter(self._learning_rate),
        }


def _temporary(values: tf.Tensor) -> tuple[tf.Tensor, tf.Operation]:
    """A variable that lives for one step: its handle, and the operation that assigns it."""
    handle = tf.raw_ops.VarHandleOp(
        dtype=values.dtype, shape=values.shape, shared_name=_ANONYMOUS
    )
    return handle, tf.raw_ops.AssignVariableOp(resource=handle, value=values)

"""Variables that live as long as one call of the tf.function that creates them."""

from __future__ import annotations

from typing import Any

from tensorflow.python.ops import resource_variable_ops

from trainer.keras import tf

# TensorFlow's name for a resource that cannot be looked up by name.
_ANONYMOUS = 'cd2c89b7-88b7-44c8-ad83-06c2a9158347'


class LocalVariable(resource_variable_ops.BaseResourceVariable):
    """A variable on the machine that runs the function, created by every call.

    It can be read, assigned, gathered from and differentiated like any `tf.Variable`. Keep a
    reference to it as long as the function may be called.

    Args:
        initial_value: Initial value.
        shape: Shape, with None for the axes that may change; the shape of the value if None.
        trainable: Whether gradient tapes watch the variable.
    """

    def __init__(
        self, initial_value: tf.Tensor, shape: Any = None, trainable: bool = False
    ) -> None:
        value = tf.convert_to_tensor(initial_value)
        shape = tf.TensorShape(value.shape if shape is None else shape)
        handle = tf.raw_ops.VarHandleOp(dtype=value.dtype, shape=shape, shared_name=_ANONYMOUS)
        tf.raw_ops.AssignVariableOp(resource=handle, value=value)
        super().__init__(
            trainable=trainable,
            shape=shape,
            dtype=value.dtype,
            handle=handle,
            name='local',
            handle_name='local',
            unique_id=f'local_{id(handle)}',
            in_graph_mode=False,
            synchronization=tf.VariableSynchronization.NONE,
            aggregation=tf.VariableAggregation.NONE,
        )

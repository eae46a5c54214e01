"""Sparse updates of most rows of a variable with wide rows, such as weights per domain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trainer.keras import tf


def update_most_rows(
    apply: Callable[..., None],
    gradient: tf.IndexedSlices,
    variables: Sequence[tf.Variable],
    initial_slots: Sequence[float],
) -> None:
    """Updates all rows by a dense gradient, then restores the rows without a gradient.

    Rows that were never updated, such as those of unseen domains, need no restore: a zero
    gradient and initial slots give a zero update. This saves more than the work: after rows of
    a variable have been gathered or scattered, TensorFlow copies all of it at every read.

    Args:
        apply: Applies the rule of a `RowOptimizer` to variables, given by their handles.
        gradient: Gradient of the variable, with unique row indices.
        variables: The variable and its slots.
        initial_slots: The initial values of the slots.
    """
    shape, rows = variables[0].shape, gradient.indices
    is_untouched = tf.tensor_scatter_nd_update(
        tf.ones(shape[:1], tf.bool), rows[:, None], tf.zeros(tf.shape(rows), tf.bool)
    )
    untouched = tf.cast(tf.where(is_untouched)[:, 0], rows.dtype)
    dense = tf.ensure_shape(tf.scatter_nd(rows[:, None], gradient.values, shape), shape)
    handles = [variable.handle for variable in variables]

    def update() -> bool:
        apply(dense, *handles)
        return True

    def update_and_restore() -> bool:
        before = [tf.gather(variable, untouched) for variable in variables]
        with tf.control_dependencies(before):
            update()
        for variable, values in zip(variables, before, strict=True):
            variable.scatter_update(tf.IndexedSlices(values, untouched))
        return True

    never_updated = [
        tf.reduce_all(tf.gather(slot, untouched) == initial)
        for slot, initial in zip(variables[1:], initial_slots, strict=True)
    ]
    tf.cond(tf.reduce_all(never_updated), update, update_and_restore)

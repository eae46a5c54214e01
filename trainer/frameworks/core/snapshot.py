"""Inner loops of training steps that can be moved by an outer update or undone.

Reptile, domain negotiation, domain regularization and MAMDR build on these. The cost of a
snapshot depends on the batches of the inner loop, not on the vocabulary: a row of an embedding,
or of a per-domain variable, is saved when a step first touches it, and only saved rows are
moved or restored. Other variables are saved whole.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mdctr.errors import UserError
from trainer.data.batching import Batch
from trainer.keras import keras, tf
from trainer.loop.serialized_state import SerializedState
from trainer.loop.step import TrainStep
from trainer.models.base import CTRModel
from trainer.optimizers.keras_optimizers import slot_variables
from trainer.optimizers.row_gradients import deduplicate_rows
from trainer.optimizers.row_optimizer import RowOptimizer

Slot = tuple[tf.Variable, float]  # a slot variable and its initial value


class VariableRows(NamedTuple):
    """Some rows of a variable.

    Attributes:
        indices: Row indices, int64 [n].
        values: Values, [n, ...].
    """

    indices: tf.Tensor
    values: tf.Tensor


class TouchedRows:
    """Tracks which rows of variables have been touched since the last `reset`.

    Each row is stamped with the number of the loop that touched it last, so that a reset costs
    the same for any number of rows.

    Args:
        variables: Variables whose rows are tracked.
    """

    def __init__(self, variables: Sequence[tf.Variable]):
        self._stamps = [
            tf.Variable(tf.zeros(variable.shape[:1], tf.int64), trainable=False)
            for variable in variables
        ]
        self._loop = tf.Variable(0, dtype=tf.int64, trainable=False)

    def reset(self) -> None:
        """Marks all rows as untouched."""
        self._loop.assign_add(1)

    def touch(self, position: int, indices: tf.Tensor) -> None:
        """Marks rows as touched.

        Args:
            position: Position of the variable among the tracked ones.
            indices: Row indices, int64 [n].
        """
        self._stamps[position].scatter_update(
            tf.IndexedSlices(tf.broadcast_to(self._loop, tf.shape(indices)), indices)
        )

    def first_touched(self, position: int, indices: tf.Tensor) -> tf.Tensor:
        """Marks rows as touched, and returns which of them were not before, bool [n].

        Args:
            position: Position of the variable among the tracked ones.
            indices: Unique row indices, int64 [n].
        """
        is_first = tf.gather(self._stamps[position], indices) != self._loop
        self.touch(position, indices)
        return is_first


class InnerStep(TrainStep):
    """A training step that saves what it changes, so that a loop can be moved or undone.

        step.take()                  # theta~ <- theta
        for batch in batches:
            step(batch)              # theta~ <- theta~ - alpha grad L(theta~)
        step.move(beta)              # theta <- theta + beta (theta~ - theta)

    Variables that are not trained (moving moments, counters) change with every step and are not
    moved back.

    Args:
        model: Model, already built.
        optimizer: Optimizer of the inner loop. One of `trainer.optimizers.row_wise` updates
            only the rows that a batch touches; with any other, all variables are saved whole.
        variables: Variables to train; all trainable variables of the model if None.
        xla: Whether to compile the gradients with XLA, as for `TrainStep`.

    Attributes:
        sparse_positions: Positions in `variables` of those with sparse gradients.
        dense_positions: Positions of the others.
        touched_rows: Rows that the loop has touched, of the variables with sparse gradients.
        snapshot: What `take` saved, for checkpoints within a loop.
        base_optimizer: The optimizer, without the loss scaling of mixed precision.
        dense_slots: Its slots with their initial values, except those of `sparse_positions`.
        sparse_slots: Its slots of each variable of `sparse_positions`.
    """

    def __init__(
        self,
        model: CTRModel,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[tf.Variable] | None = None,
        xla: bool = False,
    ):
        super().__init__(model, optimizer, variables, xla)
        self.base_optimizer = optimizer.inner_optimizer if self._scaled else optimizer
        is_sparse = (
            has_sparse_gradient(model, self.variables)
            if isinstance(self.base_optimizer, RowOptimizer)
            else [False] * len(self.variables)
        )
        self.sparse_positions = [p for p, sparse in enumerate(is_sparse) if sparse]
        self.dense_positions = [p for p, sparse in enumerate(is_sparse) if not sparse]
        self.touched_rows = TouchedRows([self.variables[p] for p in self.sparse_positions])
        self.dense_slots, self.sparse_slots = self._slots()
        self.snapshot = Snapshot(self)
        dense, rows = self.signature()
        self._take_function = tf.function(self._take, autograph=False, input_signature=[])
        self._move_function = tf.function(
            self._move,
            autograph=False,
            input_signature=[dense, rows, tf.TensorSpec([], tf.float32)],
        )
        self._restore_function = tf.function(
            self.assign, autograph=False, input_signature=[dense, rows]
        )
        self._reset_function = tf.function(
            self._reset, autograph=False, input_signature=[[block.indices for block in rows]]
        )

    def run(self, batch: Batch) -> tuple[tf.Tensor, list[VariableRows]]:
        loss, touched = super().run(batch)
        self.snapshot.add(touched)
        return loss, touched

    def take(self) -> None:
        """Starts a loop at the current values of the variables."""
        self.snapshot.start(self._take_function())

    def move(self, rate: float) -> None:
        """Moves from the snapshot theta toward the values theta~ that the loop reached.

            theta <- theta + rate (theta~ - theta)

        It is computed as theta~ + (1 - rate) (theta - theta~), which is exactly theta~ for a
        rate of 1.

        Args:
            rate: Rate of the outer update.
        """
        self._move_function(*self.snapshot.parts(), tf.constant(rate, tf.float32))

    def restore(self) -> None:
        """Restores the snapshot: theta~ <- theta."""
        self._restore_function(*self.snapshot.parts())

    def reset_slots(self, indices: list[tf.Tensor] | None = None) -> None:
        """Resets the optimizer's step and slots to their initial values.

        Args:
            indices: Row indices to reset, for each variable of `sparse_positions`; if None,
                those that this loop has touched.
        """
        if indices is None:
            indices = [block.indices for block in self.snapshot.parts()[1]]
        self._reset_function(indices)

    def read(self) -> list[tf.Tensor]:
        """Returns the values of the variables that are saved whole."""
        return [self.variables[p].read_value() for p in self.dense_positions]

    def assign(self, dense: list[tf.Tensor], rows: list[VariableRows]) -> None:
        """Assigns values to the variables.

        Args:
            dense: Values of the variables of `dense_positions`.
            rows: Rows of the variables of `sparse_positions`.
        """
        for p, value in zip(self.dense_positions, dense, strict=True):
            self.variables[p].assign(value)
        for p, (indices, values) in zip(self.sparse_positions, rows, strict=True):
            self.variables[p].scatter_update(tf.IndexedSlices(values, indices))

    def signature(self) -> tuple[list[tf.TensorSpec], list[VariableRows]]:
        """Returns the signature of the parts of a snapshot: dense values, and rows."""
        dense = [
            tf.TensorSpec(self.variables[p].shape, self.variables[p].dtype)
            for p in self.dense_positions
        ]
        rows = [
            VariableRows(
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([None, *self.variables[p].shape[1:]], self.variables[p].dtype),
            )
            for p in self.sparse_positions
        ]
        return dense, rows

    def _take(self) -> list[tf.Tensor]:
        self.touched_rows.reset()
        return self.read()

    def _step(
        self,
        gradients_of: Callable[..., tuple[tf.Tensor, list[Any]]],
        features: dict[str, tf.Tensor],
        click: tf.Tensor,
    ) -> tuple[tf.Tensor, list[VariableRows]]:
        loss, gradients = gradients_of(features, click)
        if self._scaled:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        touched = []
        for number, p in enumerate(self.sparse_positions):
            gradients[p] = deduplicate(gradients[p], self.variables[p])
            indices = tf.cast(gradients[p].indices, tf.int64)
            indices = tf.boolean_mask(indices, self.touched_rows.first_touched(number, indices))
            touched.append(VariableRows(indices, tf.gather(self.variables[p], indices)))
        self.optimizer.apply_gradients(
            [
                (gradient, variable)
                for gradient, variable in zip(gradients, self.variables, strict=True)
                if gradient is not None
            ],
            skip_gradients_aggregation=True,
        )  # aggregation would lose the information that row indices are unique
        return loss, touched

    def _move(self, dense: list[tf.Tensor], rows: list[VariableRows], rate: tf.Tensor) -> None:
        def moved(old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
            return new + (1 - tf.cast(rate, new.dtype)) * (old - new)

        for p, old in zip(self.dense_positions, dense, strict=True):
            variable = self.variables[p]
            variable.assign(moved(old, variable.read_value()))
        for p, (indices, old) in zip(self.sparse_positions, rows, strict=True):
            variable = self.variables[p]
            variable.scatter_update(
                tf.IndexedSlices(moved(old, tf.gather(variable, indices)), indices)
            )

    def _reset(self, indices: list[tf.Tensor]) -> None:
        self.base_optimizer.iterations.assign(0)
        for slot, initial in self.dense_slots:
            slot.assign(tf.fill(slot.shape, tf.cast(initial, slot.dtype)))
        for slots, rows in zip(self.sparse_slots, indices, strict=True):
            for slot, initial in slots:
                shape = tf.concat([tf.shape(rows), slot.shape[1:]], 0)
                slot.scatter_update(
                    tf.IndexedSlices(tf.fill(shape, tf.cast(initial, slot.dtype)), rows)
                )

    def _slots(self) -> tuple[list[Slot], list[list[Slot]]]:
        optimizer = self.base_optimizer
        if not isinstance(optimizer, RowOptimizer):
            return [(slot, _initial(optimizer, slot)) for slot in slot_variables(optimizer)], []
        dense = [
            slot for p in self.dense_positions for slot in optimizer.slots_of(self.variables[p])
        ]
        return dense, [optimizer.slots_of(self.variables[p]) for p in self.sparse_positions]


class Snapshot(SerializedState):
    """Values at the start of a loop of the variables and rows that the loop changed.

    Checkpoints contain it, so that an interrupted loop continues to the same result.

    Args:
        step: Step whose variables are saved.
    """

    def __init__(self, step: InnerStep):
        super().__init__()
        self._step = step
        self._dense: list[tf.Tensor] | None = None
        self._rows: list[list[VariableRows]] = [[] for _ in step.sparse_positions]

    def start(self, dense: list[tf.Tensor]) -> None:
        """Starts a new snapshot.

        Args:
            dense: Values of the variables that are saved whole.
        """
        self._dense = dense
        self._rows = [[] for _ in self._step.sparse_positions]

    def end(self) -> None:
        """Deletes the snapshot after the loop; checkpoints no longer contain it."""
        self._dense = None
        self._rows = [[] for _ in self._step.sparse_positions]

    def add(self, touched: list[VariableRows]) -> None:
        """Adds rows that a step was the first to touch.

        Args:
            touched: Rows of each variable of `sparse_positions`, with their old values.
        """
        for blocks, block in zip(self._rows, touched, strict=True):
            blocks.append(block)

    def parts(self) -> tuple[list[tf.Tensor], list[VariableRows]]:
        """Returns the dense values, and the rows of each variable with unique indices."""
        if self._dense is None:
            raise RuntimeError('There is no snapshot: call `take` before the loop.')
        self._rows = [
            [concatenate_rows(blocks, self._step.variables[p])]
            for p, blocks in zip(self._step.sparse_positions, self._rows, strict=True)
        ]
        return self._dense, [blocks[0] for blocks in self._rows]

    def tensors(self) -> list[tf.Tensor]:
        if self._dense is None:
            return []
        dense, rows = self.parts()
        return [*dense, *(tensor for block in rows for tensor in block)]

    def serialize(self) -> bytes:
        if self._dense is None:
            return b''
        return pack([tensor.numpy() for tensor in self.tensors()])

    def deserialize(self, string_value: bytes) -> None:
        if not string_value:
            return
        arrays = [tf.constant(array) for array in unpack(string_value)]
        count = len(self._step.dense_positions)
        self._step.take()
        self._dense = arrays[:count]
        self._rows = [[VariableRows(*arrays[p : p + 2])] for p in range(count, len(arrays), 2)]
        for number, (block,) in enumerate(self._rows):
            self._step.touched_rows.touch(number, block.indices)


class OuterStep:
    """The outer update (MAMDR, equation 3), with any optimizer.

    Plain SGD is `InnerStep.move`. Any other optimizer applies theta - theta~ as the gradient at
    theta, for touched rows only.

    Args:
        step: Step of the inner loop.
        optimizer: Optimizer, whose slots live through the run; None for plain SGD.
        rate: Learning rate of plain SGD.
    """

    def __init__(
        self, step: InnerStep, optimizer: keras.optimizers.Optimizer | None, rate: float
    ):
        self._step, self.optimizer, self.rate = step, optimizer, rate
        if optimizer is not None:
            optimizer.build(step.variables)
            self._update_function = tf.function(
                self._update, autograph=False, input_signature=list(step.signature())
            )

    def __call__(self) -> None:
        """Ends the inner loop with the outer update."""
        if self.optimizer is None:
            self._step.move(self.rate)
        else:
            self._update_function(*self._step.snapshot.parts())

    def _update(self, dense: list[tf.Tensor], rows: list[VariableRows]) -> None:
        assert self.optimizer is not None
        step, pairs = self._step, []
        for p, old in zip(step.dense_positions, dense, strict=True):
            variable = step.variables[p]
            pairs.append((old - variable.read_value(), variable))
        for p, (indices, old) in zip(step.sparse_positions, rows, strict=True):
            variable = step.variables[p]
            difference = old - tf.gather(variable, indices)
            pairs.append((tf.IndexedSlices(difference, indices, tf.shape(variable)), variable))
        step.assign(dense, rows)
        self.optimizer.apply_gradients(pairs)


def _initial(optimizer: keras.optimizers.Optimizer, slot: tf.Variable) -> float:
    """Returns the value that a new optimizer's slot is filled with."""
    values = slot.numpy()
    if values.size and (values != values.flat[0]).any():
        raise UserError(
            f'The optimizer {type(optimizer).__name__} initializes a slot with different '
            'values, which an inner loop cannot reset: choose another inner optimizer.'
        )
    return values.flat[0].item() if values.size else 0.0


def concatenate_rows(blocks: list[VariableRows], variable: tf.Variable) -> VariableRows:
    """Concatenates blocks of rows.

    Args:
        blocks: Blocks of different rows.
        variable: Variable that they belong to.
    """
    if len(blocks) == 1:
        return blocks[0]
    if not blocks:
        return VariableRows(
            tf.zeros([0], tf.int64), tf.zeros([0, *variable.shape[1:]], variable.dtype)
        )
    return VariableRows(*(tf.concat(parts, axis=0) for parts in zip(*blocks, strict=True)))


def deduplicate(gradient: tf.IndexedSlices | None, variable: tf.Variable) -> tf.IndexedSlices:
    """Returns a sparse gradient with unique row indices.

    Args:
        gradient: Sparse gradient; None for a gradient without rows.
        variable: Variable of the gradient.

    Raises:
        TypeError: The gradient is dense.
    """
    if gradient is None:
        return tf.IndexedSlices(
            tf.zeros([0, *variable.shape[1:]], variable.dtype),
            tf.zeros([0], tf.int32),
            tf.shape(variable),
        )
    if not isinstance(gradient, tf.IndexedSlices):
        raise TypeError(
            f'{variable.name} has a sparse gradient at inference and a dense one in training, '
            'which a snapshot does not support.'
        )
    return deduplicate_rows(gradient)


def pack(arrays: list[np.ndarray]) -> bytes:
    """Serializes arrays for a checkpoint."""
    file = io.BytesIO()
    np.savez(file, **{f'{number:06d}': array for number, array in enumerate(arrays)})
    return file.getvalue()


def unpack(data: bytes) -> list[np.ndarray]:
    """Deserializes the arrays that `pack` serialized."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return [arrays[name] for name in sorted(arrays.files)]


def has_sparse_gradient(model: CTRModel, variables: list[tf.Variable]) -> list[bool]:
    """Returns whether the gradient of the loss is sparse, for each variable.

    The model is called for inference, so that no moment or counter changes; which variables are
    read by row does not depend on the mode (`deduplicate` checks it).

    Args:
        model: Model, already built.
        variables: Variables of the model.
    """
    example = {
        name: ids if name != 'domain' else ids[0] for name, ids in model.example().items()
    }
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(example, training=False))
    return [
        isinstance(gradient, tf.IndexedSlices) for gradient in tape.gradient(loss, variables)
    ]

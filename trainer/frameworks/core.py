"""The core of the snapshot frameworks: take a snapshot, run inner steps, move by a rate.

Reptile, domain negotiation, domain regularization and MAMDR are a few lines each on this.
What a snapshot costs follows the batches of the inner loop and not the vocabulary: a row of
an embedding, or of a per-domain variable, is saved when a step first touches it, and only
saved rows are moved or restored. Other variables are saved whole.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from beam_jobs.errors import UserError
from trainer.examples import Batch
from trainer.keras import keras, tf
from trainer.keras_optimizers import state_of
from trainer.models.base import CTRModel
from trainer.optimizers import RowOptimizer
from trainer.row_gradients import sum_rows
from trainer.step import TrainStep

Slot = tuple[tf.Variable, float]  # and what it starts from


class Rows(NamedTuple):
    """Some rows of a variable: their numbers, int64 [n], and values [n, ...]."""

    numbers: tf.Tensor
    values: tf.Tensor


class Stamps:
    """Which rows of some variables have been touched since the last `forget`.

    A row carries the number of the loop that touched it last, so that forgetting costs
    nothing, however many rows there are.

    Args:
        variables: read by rows.
    """

    def __init__(self, variables: Sequence[tf.Variable]):
        self._stamps = [tf.Variable(tf.zeros(variable.shape[:1], tf.int64), trainable=False)
                        for variable in variables]
        self._loop = tf.Variable(0, dtype=tf.int64, trainable=False)

    def forget(self) -> None:
        """No row has been touched."""
        self._loop.assign_add(1)

    def touch(self, place: int, numbers: tf.Tensor) -> None:
        """Rows of the variable at `place` are touched."""
        self._stamps[place].scatter_update(tf.IndexedSlices(
            tf.broadcast_to(self._loop, tf.shape(numbers)), numbers))

    def fresh(self, place: int, numbers: tf.Tensor) -> tf.Tensor:
        """Whether each of some different rows is touched for the first time, now."""
        fresh = tf.gather(self._stamps[place], numbers) != self._loop
        self.touch(place, numbers)
        return fresh


class InnerStep(TrainStep):
    """A training step that keeps what it changes, so that a loop of it can be moved or undone.

        step.take()                  # theta~ <- theta
        for batch in batches:
            step(batch)              # theta~ <- theta~ - alpha grad L(theta~)
        step.move(beta)              # theta <- theta + beta (theta~ - theta)

    Variables that are not trained (moving moments, counters) go along with every step and are
    never moved back.

    Args:
        model: with its variables made.
        optimizer: of the inner loop. One of `trainer.optimizers` moves no row that a batch
            does not touch; with any other, all variables are saved whole.
        variables: what is trained; every trainable variable of the model when absent.
        xla: as of `TrainStep`.

    Attributes:
        row_places: of `variables`, those whose gradients are rows.
        dense_places: the others.
        snapshot: what `take` saved, a trackable for checkpoints within a loop.
        slot_owner: the optimizer, within the one that scales the loss for mixed precision.
        whole_slots: its slots, beside those of `row_places`, each with what it starts from.
        row_slots: those of each of `row_places`.
    """

    def __init__(self, model: CTRModel, optimizer: keras.optimizers.Optimizer,
                 variables: Sequence[tf.Variable] | None = None, xla: bool = False):
        super().__init__(model, optimizer, variables, xla)
        self.slot_owner = optimizer.inner_optimizer if self._scaled else optimizer
        by_row = (rows_read(model, self.variables)
                  if isinstance(self.slot_owner, RowOptimizer) else [False] * len(
                      self.variables))
        self.row_places = [place for place, rows in enumerate(by_row) if rows]
        self.dense_places = [place for place, rows in enumerate(by_row) if not rows]
        self.stamps = Stamps([self.variables[place] for place in self.row_places])
        self.whole_slots, self.row_slots = self._slots()
        self.snapshot = Snapshot(self)
        dense, rows = self.signature()
        self._moves = tf.function(self._move, autograph=False, input_signature=[
            dense, rows, tf.TensorSpec([], tf.float32)])
        self._resets = tf.function(self._reset, autograph=False, input_signature=[
            [block.numbers for block in rows]])
        self._takes = tf.function(self._take, autograph=False, input_signature=[])
        self._restores = tf.function(self.put, autograph=False,
                                     input_signature=[dense, rows])

    def __call__(self, batch: Batch) -> tf.Tensor:
        loss, touched = super().__call__(batch)
        self.snapshot.add(touched)
        return loss

    def take(self) -> None:
        """Starts a loop at the variables as they are now."""
        self.snapshot.start(self._takes())

    def move(self, rate: float) -> None:
        """theta <- theta + rate (theta~ - theta), from the snapshot theta to the values theta~.

        Computed as theta~ + (1 - rate) (theta - theta~), which at the rate 1 is theta~ to the
        last bit.
        """
        self._moves(*self.snapshot.parts(), tf.constant(rate, tf.float32))

    def restore(self) -> None:
        """theta~ <- theta."""
        self._restores(*self.snapshot.parts())

    def reset_slots(self, numbers: list[tf.Tensor] | None = None) -> None:
        """Gives the optimizer the slots of its first step.

        Args:
            numbers: of the rows that have others, for each of `row_places`; absent, those that
                this loop has touched.
        """
        if numbers is None:
            numbers = [block.numbers for block in self.snapshot.parts()[1]]
        self._resets(numbers)

    def read(self) -> list[tf.Tensor]:
        """The values of the variables that are saved whole."""
        return [self.variables[place].read_value() for place in self.dense_places]

    def _take(self):
        self.stamps.forget()
        return self.read()

    def _step(self, gradients_of, features, click):
        loss, gradients = gradients_of(features, click)
        if self._scaled:
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        touched = []
        for number, place in enumerate(self.row_places):
            gradients[place] = summed(gradients[place], self.variables[place])
            rows = tf.cast(gradients[place].indices, tf.int64)
            rows = tf.boolean_mask(rows, self.stamps.fresh(number, rows))
            touched.append(Rows(rows, tf.gather(self.variables[place], rows)))
        self.optimizer.apply_gradients(
            [(gradient, variable) for gradient, variable
             in zip(gradients, self.variables, strict=True) if gradient is not None],
            skip_gradients_aggregation=True)  # which would forget that rows are there once
        return loss, touched

    def _move(self, dense, rows, rate):
        def toward(old, new):
            return new + (1 - tf.cast(rate, new.dtype)) * (old - new)
        for place, old in zip(self.dense_places, dense, strict=True):
            variable = self.variables[place]
            variable.assign(toward(old, variable.read_value()))
        for place, (numbers, old) in zip(self.row_places, rows, strict=True):
            variable = self.variables[place]
            variable.scatter_update(tf.IndexedSlices(
                toward(old, tf.gather(variable, numbers)), numbers))

    def put(self, dense: list[tf.Tensor], rows: list[Rows]) -> None:
        """Gives the variables these values."""
        for place, old in zip(self.dense_places, dense, strict=True):
            self.variables[place].assign(old)
        for place, (numbers, old) in zip(self.row_places, rows, strict=True):
            self.variables[place].scatter_update(tf.IndexedSlices(old, numbers))

    def _reset(self, numbers):
        self.slot_owner.iterations.assign(0)
        for slot, initial in self.whole_slots:
            slot.assign(tf.fill(slot.shape, tf.cast(initial, slot.dtype)))
        for slots, rows in zip(self.row_slots, numbers, strict=True):
            for slot, initial in slots:
                slot.scatter_update(tf.IndexedSlices(tf.fill(
                    tf.concat([tf.shape(rows), slot.shape[1:]], 0),
                    tf.cast(initial, slot.dtype)), rows))

    def _slots(self) -> tuple[list[Slot], list[list[Slot]]]:
        owner = self.slot_owner
        if not isinstance(owner, RowOptimizer):
            return [(slot, _initial(owner, slot)) for slot in state_of(owner)], []
        whole = [slot for place in self.dense_places
                 for slot in owner.slots_of(self.variables[place])]
        return whole, [owner.slots_of(self.variables[place]) for place in self.row_places]

    def signature(self) -> tuple[list[tf.TensorSpec], list[Rows]]:
        """Of the parts of a snapshot: dense values, and rows."""
        dense = [tf.TensorSpec(self.variables[place].shape, self.variables[place].dtype)
                 for place in self.dense_places]
        rows = [Rows(tf.TensorSpec([None], tf.int64),
                     tf.TensorSpec([None, *self.variables[place].shape[1:]],
                                   self.variables[place].dtype))
                for place in self.row_places]
        return dense, rows


class Snapshot(tf.train.experimental.PythonState):
    """The variables of an `InnerStep` at the start of a loop, as far as the loop changed them.

    It is written to checkpoints, so that a loop that was cut goes on to the same end.
    """

    def __init__(self, step: InnerStep):
        super().__init__()
        self._step = step
        self._dense: list[tf.Tensor] | None = None
        self._rows: list[list[Rows]] = [[] for _ in step.row_places]

    def start(self, dense: list[tf.Tensor]) -> None:
        """Forgets everything, and keeps the variables that are saved whole."""
        self._dense = dense
        self._rows = [[] for _ in self._step.row_places]

    def end(self) -> None:
        """Forgets everything: the loop is over, and checkpoints need none of it."""
        self._dense = None
        self._rows = [[] for _ in self._step.row_places]

    def add(self, touched: list[Rows]) -> None:
        """Keeps rows that a step touched first, a block for each of `row_places`."""
        for blocks, block in zip(self._rows, touched, strict=True):
            blocks.append(block)

    def parts(self) -> tuple[list[tf.Tensor], list[Rows]]:
        """The dense values, and the rows, each once."""
        if self._dense is None:
            raise RuntimeError('There is no snapshot: call `take` before the loop.')
        self._rows = [[joined(blocks, self._step.variables[place])] for place, blocks
                      in zip(self._step.row_places, self._rows, strict=True)]
        return self._dense, [blocks[0] for blocks in self._rows]

    def serialize(self) -> bytes:
        if self._dense is None:
            return b''
        dense, rows = self.parts()
        return pack([*(each.numpy() for each in dense),
                     *(each.numpy() for block in rows for each in block)])

    def deserialize(self, string_value: bytes) -> None:
        if not string_value:
            return
        arrays = [tf.constant(array) for array in unpack(string_value)]
        count = len(self._step.dense_places)
        self._step.take()
        self._dense = arrays[:count]
        self._rows = [[Rows(*arrays[place:place + 2])]
                      for place in range(count, len(arrays), 2)]
        for place, (block,) in enumerate(self._rows):
            self._step.stamps.touch(place, block.numbers)


class OuterStep:
    """The outer update of eq. 3 (MAMDR), with any optimizer: theta - theta~ is the gradient.

    Plain SGD is `InnerStep.move` by its rate; any other optimizer gets theta - theta~ as the
    gradient at theta, of touched rows alone.

    Args:
        step: of the inner loop.
        optimizer: its slots are made here, and live as long as the run.
        rate: where the optimizer is None, of plain SGD.
    """

    def __init__(self, step: InnerStep, optimizer: keras.optimizers.Optimizer | None,
                 rate: float):
        self._step, self.optimizer, self.rate = step, optimizer, rate
        if optimizer is not None:
            optimizer.build(step.variables)
            self._updates = tf.function(self._update, autograph=False,
                                        input_signature=list(step.signature()))

    def __call__(self) -> None:
        """Ends the inner loop with the outer update."""
        if self.optimizer is None:
            self._step.move(self.rate)
        else:
            self._updates(*self._step.snapshot.parts())

    def _update(self, dense, rows):
        step, pairs = self._step, []
        for place, old in zip(step.dense_places, dense, strict=True):
            variable = step.variables[place]
            pairs.append((old - variable.read_value(), variable))
        for place, (numbers, old) in zip(step.row_places, rows, strict=True):
            variable = step.variables[place]
            pairs.append((tf.IndexedSlices(old - tf.gather(variable, numbers), numbers,
                                           tf.shape(variable)), variable))
        step.put(dense, rows)
        self.optimizer.apply_gradients(pairs)


def _initial(optimizer: keras.optimizers.Optimizer, slot: tf.Variable) -> float:
    """The value that a new optimizer's slot is filled with."""
    values = slot.numpy()
    if values.size and (values != values.flat[0]).any():
        raise UserError(f'The slots of {type(optimizer).__name__} start from more than one '
                        'value, and an inner loop could not give them back: choose another '
                        'inner optimizer.')
    return values.flat[0].item() if values.size else 0.0


def joined(blocks: list[Rows], variable: tf.Variable) -> Rows:
    """Blocks of different rows of a variable as one."""
    if len(blocks) == 1:
        return blocks[0]
    if not blocks:
        return Rows(tf.zeros([0], tf.int64),
                    tf.zeros([0, *variable.shape[1:]], variable.dtype))
    return Rows(*(tf.concat(parts, axis=0) for parts in zip(*blocks, strict=True)))


def summed(gradient: tf.IndexedSlices | None, variable: tf.Variable) -> tf.IndexedSlices:
    """The gradient of rows with each row once; of no rows where there is none."""
    if gradient is None:
        return tf.IndexedSlices(tf.zeros([0, *variable.shape[1:]], variable.dtype),
                                tf.zeros([0], tf.int32), tf.shape(variable))
    if not isinstance(gradient, tf.IndexedSlices):
        raise TypeError(f'{variable.name} is read by rows at inference and whole in training: '
                        'a snapshot cannot follow it.')
    return sum_rows(gradient)


def pack(arrays: list[np.ndarray]) -> bytes:
    """Arrays as bytes, for a checkpoint."""
    file = io.BytesIO()
    np.savez(file, **{f'{place:06d}': array for place, array in enumerate(arrays)})
    return file.getvalue()


def unpack(data: bytes) -> list[np.ndarray]:
    """What `pack` packed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return [arrays[name] for name in sorted(arrays.files)]


def rows_read(model: CTRModel, variables: list[tf.Variable]) -> list[bool]:
    """Whether the loss's gradient is rows of each variable, found by asking for it once.

    Without `training`, so that no moment or counter moves; what is read by row does not
    depend on it (`summed` checks).
    """
    example = {name: ids if name != 'domain' else ids[0]
               for name, ids in model.example().items()}
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(example, training=False))
    return [isinstance(gradient, tf.IndexedSlices)
            for gradient in tape.gradient(loss, variables)]

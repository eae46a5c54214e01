"""Parameters of each domain's own, kept as differences from the shared ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from trainer.frameworks.core import InnerStep, Rows, pack, unpack
from trainer.frameworks.moments import domain_led
from trainer.keras import tf
from trainer.models.base import CTRModel


class Block(NamedTuple):
    """Some rows of a variable: their numbers, int64 [n], ascending, and values [n, ...]."""

    numbers: np.ndarray
    values: np.ndarray


class Difference(tf.train.experimental.PythonState):
    """What a domain has of its own; nothing, until it is set.

    It lies in the host's memory and in checkpoints. Of a variable that is read by rows it has
    the rows that the domain's training touched: never the whole table.

    Attributes:
        dense: arrays, one for each dense variable of the step.
        rows: blocks, one for each variable of the step that is read by rows.
        slots: the optimizer's, where they are kept: arrays and blocks in the step's order.
        extra: values of the variables that are not trained.
    """

    def __init__(self):
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """The domain has nothing of its own."""
        self.dense: list[np.ndarray] = []
        self.rows: list[Block] = []
        self.slots: list[np.ndarray] = []
        self.extra: list[np.ndarray] = []
        self.there = False

    def copy_from(self, other: Difference) -> None:
        """The domain has what another one has."""
        self.dense, self.rows = other.dense, other.rows
        self.slots, self.extra, self.there = other.slots, other.extra, other.there

    def serialize(self) -> bytes:
        if not self.there:
            return b''
        counts = np.array([len(self.dense), len(self.rows), len(self.slots)])
        return pack([counts, *self.dense, *(array for block in self.rows for array in block),
                     *self.slots, *self.extra])

    def deserialize(self, string_value: bytes) -> None:
        self.clear()
        if not string_value:
            return
        counts, *arrays = unpack(string_value)
        dense, rows, slots = counts.tolist()
        first, second = dense + 2 * rows, dense + 2 * rows + slots
        self.dense, self.slots = arrays[:dense], arrays[first:second]
        self.extra = arrays[second:]
        self.rows = [Block(*arrays[place:place + 2]) for place in range(dense, first, 2)]
        self.there = True


class SpecificParameters:
    """theta_i of every domain i, so that Theta = theta_S + theta_i (MAMDR, equation 4).

    The model's variables hold theta_S. Between `enter(i)` and `leave` they hold
    theta_S + theta_i, and an `InnerStep` moves them:

        specific.enter(i)
        step.take(); ...; specific.touched(); step.move(rate)
        specific.leave(keep=True)     # theta_i <- Theta - theta_S; the variables are theta_S

    theta_i is zero until it is kept. Of the variables with a row for each domain, theta_i
    keeps the domain's own row: it reads no other.

    Args:
        step: whose variables have a theta_i.
        model: of the step.
        num_domains: ids are below it.
        follow: theta_i stays a difference while theta_S moves; otherwise it is kept as the
            values of Theta, to the last bit, and theta_S must not move.
        slots: whether the optimizer's slots are the domain's own too, else the step's.
        extra: variables that are not trained, of which each domain keeps its own values.
    """

    def __init__(self, step: InnerStep, model: CTRModel, num_domains: int, follow: bool,
                 slots: bool = False, extra: Iterable[tf.Variable] = ()):
        self.step, self.model = step, model
        self.differences = [Difference() for _ in range(num_domains)]
        self.follow, self.extra = follow, list(extra)
        self._with_slots = slots
        led = domain_led(model)
        self._own_row = [id(step.variables[place]) in led for place in step.row_places]
        self._domain = 0

    def trackable(self) -> tf.train.Checkpoint:
        """All theta_i, for checkpoints."""
        return tf.train.Checkpoint(**{f'domain_{domain}': difference for domain, difference
                                      in enumerate(self.differences)})

    def enter(self, domain: int) -> None:
        """Theta <- theta_S + theta_i."""
        step, own = self.step, self.differences[domain]
        self._domain = domain
        self._dense = step.read()
        self._extra = [variable.read_value() for variable in self.extra]
        self._blocks: list[list[Rows]] = [[] for _ in step.row_places]
        if not own.there:
            return
        for place, value in zip(step.dense_places, own.dense, strict=True):
            variable = step.variables[place]
            (variable.assign_add if self.follow else variable.assign)(value)
        for place, block, blocks in zip(step.row_places, own.rows, self._blocks, strict=True):
            if len(block.numbers):
                variable, numbers = step.variables[place], tf.constant(block.numbers)
                shared = tf.gather(variable, numbers)
                blocks.append(Rows(numbers, shared))
                variable.scatter_update(tf.IndexedSlices(
                    shared + block.values if self.follow else block.values, numbers))
        for variable, value in zip(self.extra, own.extra, strict=True):
            variable.assign(value)
        if self._with_slots:
            self._write_slots(own)

    def touched(self) -> None:
        """Remembers which rows the step's loop has changed; before they are moved."""
        _, rows = self.step.snapshot.parts()
        for blocks, block in zip(self._blocks, rows, strict=True):
            if len(block.numbers):
                blocks.append(block)

    def leave(self, keep: bool) -> None:
        """theta_i <- Theta - theta_S, if it is to be kept; the variables are theta_S again."""
        step = self.step
        # The first block that has a row has its shared value.
        blocks = [_first(blocks, step.variables[place])
                  for place, blocks in zip(step.row_places, self._blocks, strict=True)]
        if keep:
            self._keep(blocks)
        if self._with_slots:
            self._reset_slots(blocks)
        for place, value in zip(step.dense_places, self._dense, strict=True):
            step.variables[place].assign(value)
        for place, block in zip(step.row_places, blocks, strict=True):
            if len(block.numbers):
                step.variables[place].scatter_update(
                    tf.IndexedSlices(block.values, block.numbers))
        for variable, value in zip(self.extra, self._extra, strict=True):
            variable.assign(value)

    def _keep(self, blocks: list[Block]) -> None:
        step, own = self.step, self.differences[self._domain]
        own.clear()
        for place, shared in zip(step.dense_places, self._dense, strict=True):
            value = step.variables[place].read_value()
            own.dense.append((value - shared if self.follow else value).numpy())
        for place, block, own_row in zip(step.row_places, blocks, self._own_row, strict=True):
            value = tf.gather(step.variables[place], block.numbers).numpy()
            value = value - block.values if self.follow else value
            mine = (block.numbers == self._domain) if own_row else slice(None)
            own.rows.append(Block(block.numbers[mine], value[mine]))
        own.extra = [variable.numpy() for variable in self.extra]
        if self._with_slots:
            own.slots = [step.slot_owner.iterations.numpy()]
            for place in step.dense_places:
                own.slots += [slot.numpy() for slot, _ in self._slots_of(place)]
            for place, block in zip(step.row_places, own.rows, strict=True):
                own.slots += [tf.gather(slot, block.numbers).numpy()
                              for slot, _ in self._slots_of(place)]
        own.there = True

    def _write_slots(self, own: Difference) -> None:
        step, values = self.step, iter(own.slots)
        step.slot_owner.iterations.assign(next(values))
        for place in step.dense_places:
            for slot, _ in self._slots_of(place):
                slot.assign(next(values))
        for place, block in zip(step.row_places, own.rows, strict=True):
            for slot, _ in self._slots_of(place):
                slot.scatter_update(tf.IndexedSlices(next(values), block.numbers))

    def _reset_slots(self, blocks: list[Block]) -> None:
        self.step.reset_slots([tf.constant(block.numbers) for block in blocks])

    def _slots_of(self, place: int) -> list[tuple[tf.Variable, float]]:
        return self.step.slot_owner.slots_of(self.step.variables[place])


def _first(blocks: list[Rows], variable: tf.Variable) -> Block:
    """The first value of every row, the rows ascending."""
    if not blocks:
        return Block(np.zeros(0, np.int64),
                     np.zeros((0, *variable.shape[1:]), variable.dtype.as_numpy_dtype))
    numbers = np.concatenate([block.numbers.numpy() for block in blocks])
    values: Any = tf.concat([block.values for block in blocks], axis=0)
    numbers, first = np.unique(numbers, return_index=True)
    return Block(numbers, tf.gather(values, first).numpy())

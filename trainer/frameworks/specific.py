"""Parameters of each domain's own, kept as differences from the shared ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from trainer.frameworks.core import InnerStep, Rows, Stamps, joined, pack, unpack
from trainer.frameworks.moments import domain_led
from trainer.keras import tf
from trainer.models.base import CTRModel


class Difference(tf.train.experimental.PythonState):
    """What a domain has of its own; nothing, until it is set.

    It lies in the host's memory and in checkpoints. Of a variable that is read by rows it has
    the rows that the domain's training touched: never the whole table.

    Attributes:
        dense: tensors, one for each dense variable of the step.
        rows: one for each variable of the step that is read by rows; in any order.
        slots: the optimizer's, where they are kept: its step, then each variable's in turn.
        extra: values of the variables that are not trained.
    """

    def __init__(self):
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """The domain has nothing of its own."""
        self.dense: list[tf.Tensor] = []
        self.rows: list[Rows] = []
        self.slots: list[tf.Tensor] = []
        self.extra: list[tf.Tensor] = []
        self.there = False

    def copy_from(self, other: Difference) -> None:
        """The domain has what another one has."""
        self.dense, self.rows = other.dense, other.rows
        self.slots, self.extra, self.there = other.slots, other.extra, other.there

    def serialize(self) -> bytes:
        if not self.there:
            return b''
        counts = np.array([len(self.dense), len(self.rows), len(self.slots)])
        tensors = [*self.dense, *(part for block in self.rows for part in block),
                   *self.slots, *self.extra]
        return pack([counts, *(tensor.numpy() for tensor in tensors)])

    def deserialize(self, string_value: bytes) -> None:
        self.clear()
        if not string_value:
            return
        counts, *arrays = unpack(string_value)
        dense, rows, slots = counts.tolist()
        with tf.device('CPU'):
            arrays = [tf.constant(array) for array in arrays]
        first, second = dense + 2 * rows, dense + 2 * rows + slots
        self.dense, self.slots = arrays[:dense], arrays[first:second]
        self.extra = arrays[second:]
        self.rows = [Rows(*arrays[place:place + 2]) for place in range(dense, first, 2)]
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
        self._stamps = Stamps([step.variables[place] for place in step.row_places])
        self._domain = 0
        dense, rows = step.signature()
        others = [tf.TensorSpec(variable.shape, variable.dtype) for variable in self.extra]
        self._puts = tf.function(self._put, autograph=False,
                                 input_signature=[dense, rows, others])
        self._enters = tf.function(self._enter, autograph=False, input_signature=[])
        self._firsts = tf.function(self._first, autograph=False, input_signature=[rows])
        self._takes = tf.function(self._take_back, autograph=False,
                                  input_signature=[dense, rows, others])

    def trackable(self) -> tf.train.Checkpoint:
        """All theta_i, for checkpoints."""
        return checkpoint_of(self.differences)

    def own_rows(self, variable: tf.Variable) -> np.ndarray:
        """A variable with a row for each domain, each row as it is in the domain's Theta."""
        shared = variable.numpy()
        rows = shared.copy()
        for domain, own in enumerate(self.differences):
            if own.there:
                rows[domain] = self._own_value(variable, domain, shared[domain])
        return rows

    def _own_value(self, variable: tf.Variable, domain: int, shared: np.ndarray) -> np.ndarray:
        step, own = self.step, self.differences[domain]
        for place, dense in zip(step.dense_places, own.dense, strict=True):
            if step.variables[place] is variable:
                return dense.numpy()[domain] + (shared if self.follow else 0)
        for place, block in zip(step.row_places, own.rows, strict=True):
            mine = block.numbers.numpy() == domain
            if step.variables[place] is variable and mine.any():
                return block.values.numpy()[mine][0] + (shared if self.follow else 0)
        return shared

    def enter(self, domain: int) -> None:
        """Theta <- theta_S + theta_i."""
        step, own = self.step, self.differences[domain]
        self._domain = domain
        self._blocks: list[list[Rows]] = [[] for _ in step.row_places]
        if not own.there:
            self._shared = self._enters()
        else:
            self._shared, shared = self._puts(own.dense, own.rows, own.extra)
            self._blocks = [[Rows(block.numbers, values)]
                            for block, values in zip(own.rows, shared, strict=True)]
            if own.slots:
                self._write_slots(own)

    def touched(self) -> None:
        """Remembers which rows the step's loop has changed; before they are moved."""
        for blocks, block in zip(self._blocks, self._firsts(self.step.snapshot.parts()[1]),
                                 strict=True):
            blocks.append(block)

    def leave(self, keep: bool) -> None:
        """theta_i <- Theta - theta_S, if it is to be kept; the variables are theta_S again."""
        step = self.step
        blocks = [joined(blocks, step.variables[place]) for place, blocks
                  in zip(step.row_places, self._blocks, strict=True)]
        if keep and self._with_slots:
            slots = self._read_slots(blocks)
        dense, values, extra = self._takes(self._shared[0], blocks, self._shared[1])
        if keep:
            own = self.differences[self._domain]
            own.dense, own.extra = _on_host(dense), _on_host(extra)
            own.rows = [self._own(block.numbers, value, own_row) for block, value, own_row
                        in zip(blocks, values, self._own_row, strict=True)]
            own.slots = slots if self._with_slots else []
            own.there = True
        if self._with_slots:
            step.reset_slots([block.numbers for block in blocks])

    def blend(self, domain: int, mean: Difference, share: float) -> None:
        """mean <- mean + share (theta_i - mean), of one domain; the mean has no slots.

        What one of the two does not have, rows or everything, is there as in theta_S.
        """
        step, own = self.step, self.differences[domain]
        if not own.there:
            return
        dense = [step.variables[place] for place in step.dense_places]
        tables = [step.variables[place] for place in step.row_places]
        if not mean.there:
            mean.dense = [self._nothing(variable.read_value()) for variable in dense]
            mean.rows = [joined([], table) for table in tables]
            mean.extra = [variable.read_value() for variable in self.extra]
        pairs = zip([*mean.dense, *mean.extra], [*own.dense, *own.extra], strict=True)
        blended = _on_host([_between(old, new, share) for old, new in pairs])
        mean.dense, mean.extra = blended[:len(dense)], blended[len(dense):]
        for place, (table, new) in enumerate(zip(tables, own.rows, strict=True)):
            old = mean.rows[place]
            numbers = np.union1d(old.numbers, new.numbers)
            mean.rows[place] = Rows(*_on_host([numbers, _between(
                *(self._among(block, numbers, table) for block in (old, new)), share)]))
        mean.slots, mean.there = [], True

    def _among(self, block: Rows, numbers: np.ndarray, table: tf.Variable) -> tf.Tensor:
        """theta_i's values of ascending rows of a table, of which a block has some."""
        return tf.tensor_scatter_nd_update(
            self._nothing(tf.gather(table, numbers)),
            np.searchsorted(numbers, block.numbers)[:, None], block.values)

    def _nothing(self, shared: tf.Tensor) -> tf.Tensor:
        """What theta_i is where it is as theta_S."""
        return tf.zeros_like(shared) if self.follow else shared

    def _enter(self):
        """Forgets what was touched; the shared values of whole variables."""
        self._stamps.forget()
        return self.step.read(), [variable.read_value() for variable in self.extra]

    def _put(self, dense, rows, extra):
        """Puts theta_i on theta_S; the shared values of whole variables and of its rows."""
        step, shared, whole = self.step, [], self._enter()
        for place, value in zip(step.dense_places, dense, strict=True):
            variable = step.variables[place]
            (variable.assign_add if self.follow else variable.assign)(value)
        for number, (place, block) in enumerate(zip(step.row_places, rows, strict=True)):
            variable = step.variables[place]
            shared.append(tf.gather(variable, block.numbers))
            variable.scatter_update(tf.IndexedSlices(
                shared[-1] + block.values if self.follow else block.values, block.numbers))
            self._stamps.touch(number, block.numbers)
        for variable, value in zip(self.extra, extra, strict=True):
            variable.assign(value)
        return whole, shared

    def _first(self, rows):
        """Those rows that are touched for the first time since `enter`: their old values are
        the shared ones."""
        made = []
        for number, block in enumerate(rows):
            fresh = self._stamps.fresh(number, block.numbers)
            made.append(Rows(*(tf.boolean_mask(part, fresh) for part in block)))
        return made

    def _take_back(self, dense, rows, extra):
        """Puts the shared values back; what was there, as theta_i keeps it."""
        step, own_dense, own_rows = self.step, [], []
        for place, old in zip(step.dense_places, dense, strict=True):
            value = step.variables[place].read_value()
            own_dense.append(value - old if self.follow else value)
        for place, block in zip(step.row_places, rows, strict=True):
            value = tf.gather(step.variables[place], block.numbers)
            own_rows.append(value - block.values if self.follow else value)
        own_extra = [variable.read_value() for variable in self.extra]
        step.put(dense, rows)
        for variable, old in zip(self.extra, extra, strict=True):
            variable.assign(old)
        return own_dense, own_rows, own_extra

    def _own(self, numbers: tf.Tensor, values: tf.Tensor, own_row: bool) -> Rows:
        """The rows that theta_i keeps."""
        if own_row:
            mine = numbers == self._domain
            numbers, values = tf.boolean_mask(numbers, mine), tf.boolean_mask(values, mine)
        return Rows(*_on_host([numbers, values]))

    def _read_slots(self, blocks: list[Rows]) -> list[tf.Tensor]:
        step = self.step
        values = [step.slot_owner.iterations.read_value(),
                  *(slot.read_value() for slot, _ in step.whole_slots)]
        for slots, block, own_row in zip(step.row_slots, blocks, self._own_row, strict=True):
            values += [self._own(block.numbers, tf.gather(slot, block.numbers), own_row).values
                       for slot, _ in slots]
        return _on_host(values)

    def _write_slots(self, own: Difference) -> None:
        step, values = self.step, iter(own.slots)
        step.slot_owner.iterations.assign(next(values))
        for slot, _ in step.whole_slots:
            slot.assign(next(values))
        for slots, block in zip(step.row_slots, own.rows, strict=True):
            for slot, _ in slots:
                slot.scatter_update(tf.IndexedSlices(next(values), block.numbers))


def checkpoint_of(differences: Iterable[Difference]) -> tf.train.Checkpoint:
    """What saves and restores the differences of domains 0, 1, ..."""
    return tf.train.Checkpoint(**{f'domain_{domain}': difference for domain, difference
                                  in enumerate(differences)})


def _between(old: tf.Tensor, new: tf.Tensor, share: float) -> tf.Tensor:
    """Some way from old to new; what is not of floating point is new."""
    return old + tf.cast(share, old.dtype) * (new - old) if old.dtype.is_floating else new


def _on_host(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """Copies in the host's memory; the same tensors where they are there."""
    with tf.device('CPU'):
        return [tf.identity(tensor) for tensor in tensors]

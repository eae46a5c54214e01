"""Domain-specific parameters, kept as differences from the shared ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from trainer.frameworks.core.moments import per_domain_variable_ids
from trainer.frameworks.core.snapshot import (
    InnerStep,
    TouchedRows,
    VariableRows,
    concatenate_rows,
    pack,
    unpack,
)
from trainer.keras import tf
from trainer.loop.serialized_state import SerializedState
from trainer.models.base import CTRModel


class DomainDelta(SerializedState):
    """The specific parameters theta_i of one domain; empty until they are set.

    They are stored in host memory and in checkpoints. Of a variable that is read by row they
    have only the rows that the domain's training touched, not the whole table.

    Attributes:
        is_set: Whether the domain has specific parameters.
        dense: Tensors, one per dense variable of the step.
        rows: Rows of each variable of the step with sparse gradients, in any order.
        slots: The optimizer's step and then its slots, variable by variable, if they are
            domain-specific.
        extra: Values of the domain-specific variables that are not trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """Deletes the specific parameters."""
        self.dense: list[tf.Tensor] = []
        self.rows: list[VariableRows] = []
        self.slots: list[tf.Tensor] = []
        self.extra: list[tf.Tensor] = []
        self.is_set = False

    def copy_from(self, other: DomainDelta) -> None:
        """Copies the specific parameters of another domain.

        Args:
            other: Parameters to copy.
        """
        self.dense, self.rows = other.dense, other.rows
        self.slots, self.extra, self.is_set = other.slots, other.extra, other.is_set

    def tensors(self) -> list[tf.Tensor]:
        rows = [part for block in self.rows for part in block]
        return [*self.dense, *rows, *self.slots, *self.extra]

    def serialize(self) -> bytes:
        if not self.is_set:
            return b''
        counts = np.array([len(self.dense), len(self.rows), len(self.slots)])
        return pack([counts, *(tensor.numpy() for tensor in self.tensors())])

    def deserialize(self, string_value: bytes) -> None:
        self.clear()
        if not string_value:
            return
        counts, *arrays = unpack(string_value)
        dense, rows, slots = counts.tolist()
        with tf.device('CPU'):
            arrays = [tf.constant(array) for array in arrays]
        rows_end = dense + 2 * rows
        slots_end = rows_end + slots
        self.dense, self.slots = arrays[:dense], arrays[rows_end:slots_end]
        self.extra = arrays[slots_end:]
        self.rows = [
            VariableRows(*arrays[position : position + 2])
            for position in range(dense, rows_end, 2)
        ]
        self.is_set = True


class DomainSpecificParameters:
    """theta_i of every domain i, with Theta = theta_S + theta_i (MAMDR, equation 4).

    The model's variables hold theta_S. Between `enter(i)` and `leave` they hold
    theta_S + theta_i, and an `InnerStep` trains them:

        specific.enter(i)
        step.take(); ...; specific.record_touched(); step.move(rate)
        specific.leave(keep=True)     # theta_i <- Theta - theta_S; the variables are theta_S

    theta_i is zero until it is kept. Of a variable with a row per domain, theta_i has the
    domain's own row only, because the domain reads no other.

    Args:
        step: Step whose variables have a theta_i.
        model: Model of the step.
        num_domains: Number of domains; ids are below it.
        relative: Whether theta_i is kept as a difference, so that theta_S may change;
            otherwise the values of Theta are kept exactly, and theta_S must not change.
        with_slots: Whether the optimizer's slots are domain-specific too.
        extra: Variables that are not trained, of which each domain keeps its own values.

    Attributes:
        deltas: theta_i by domain id.
    """

    def __init__(
        self,
        step: InnerStep,
        model: CTRModel,
        num_domains: int,
        relative: bool,
        with_slots: bool = False,
        extra: Iterable[tf.Variable] = (),
    ):
        self.step, self.model = step, model
        self.deltas = [DomainDelta() for _ in range(num_domains)]
        self.relative, self.extra = relative, list(extra)
        self._with_slots = with_slots
        sparse = [step.variables[p] for p in step.sparse_positions]
        per_domain = per_domain_variable_ids(model)
        self._is_per_domain = [id(variable) in per_domain for variable in sparse]
        self._touched_rows = TouchedRows(sparse)
        self._domain = 0
        dense, rows = step.signature()
        values = [tf.TensorSpec(variable.shape, variable.dtype) for variable in self.extra]
        self._start_function = tf.function(self._start, autograph=False, input_signature=[])
        self._add_function = tf.function(
            self._add, autograph=False, input_signature=[dense, rows, values]
        )
        self._first_touched_function = tf.function(
            self._first_touched, autograph=False, input_signature=[rows]
        )
        self._exchange_function = tf.function(
            self._exchange, autograph=False, input_signature=[dense, rows, values]
        )

    def trackable(self) -> tf.train.Checkpoint:
        """Returns all theta_i as a trackable object for checkpoints."""
        return checkpoint_of(self.deltas)

    def domain_rows(self, variable: tf.Variable) -> np.ndarray:
        """Returns a variable with a row per domain, each row as in that domain's Theta.

        Args:
            variable: Variable of the model, [num_domains, ...].
        """
        shared = variable.numpy()
        rows = shared.copy()
        for domain, delta in enumerate(self.deltas):
            if delta.is_set:
                rows[domain] = self._domain_row(variable, domain, shared[domain])
        return rows

    def _domain_row(self, variable: tf.Variable, domain: int, shared: np.ndarray) -> np.ndarray:
        step, delta = self.step, self.deltas[domain]
        for p, dense in zip(step.dense_positions, delta.dense, strict=True):
            if step.variables[p] is variable:
                return dense.numpy()[domain] + (shared if self.relative else 0)
        for p, block in zip(step.sparse_positions, delta.rows, strict=True):
            is_own = block.indices.numpy() == domain
            if step.variables[p] is variable and is_own.any():
                return block.values.numpy()[is_own][0] + (shared if self.relative else 0)
        return shared

    def enter(self, domain: int) -> None:
        """Sets the variables to those of a domain: Theta <- theta_S + theta_i.

        Args:
            domain: Id of the domain.
        """
        step, delta = self.step, self.deltas[domain]
        self._domain = domain
        self._blocks: list[list[VariableRows]] = [[] for _ in step.sparse_positions]
        if not delta.is_set:
            self._shared = self._start_function()
        else:
            self._shared, shared_rows = self._add_function(delta.dense, delta.rows, delta.extra)
            self._blocks = [
                [VariableRows(block.indices, values)]
                for block, values in zip(delta.rows, shared_rows, strict=True)
            ]
            if delta.slots:
                self._write_slots(delta)

    def record_touched(self) -> None:
        """Records the rows that the step's loop has changed; called before they are moved."""
        touched = self._first_touched_function(self.step.snapshot.parts()[1])
        for blocks, block in zip(self._blocks, touched, strict=True):
            blocks.append(block)

    def leave(self, keep: bool) -> None:
        """Sets the variables to the shared ones again.

        Args:
            keep: Whether to keep the domain's parameters: theta_i <- Theta - theta_S.
        """
        step = self.step
        blocks = [
            concatenate_rows(blocks, step.variables[p])
            for p, blocks in zip(step.sparse_positions, self._blocks, strict=True)
        ]
        if keep and self._with_slots:
            slots = self._read_slots(blocks)
        dense, values, extra = self._exchange_function(self._shared[0], blocks, self._shared[1])
        if keep:
            delta = self.deltas[self._domain]
            delta.dense, delta.extra = _on_host(dense), _on_host(extra)
            delta.rows = [
                self._kept_rows(block.indices, value, is_per_domain)
                for block, value, is_per_domain in zip(
                    blocks, values, self._is_per_domain, strict=True
                )
            ]
            delta.slots = slots if self._with_slots else []
            delta.is_set = True
        if self._with_slots:
            step.reset_slots([block.indices for block in blocks])

    def blend(self, domain: int, mean: DomainDelta, share: float) -> None:
        """Updates a running mean of a domain's theta_i: mean <- mean + share (theta_i - mean).

        Rows that only one of the two has count as those of theta_S in the other. The mean has
        no slots.

        Args:
            domain: Id of the domain; nothing happens if it has no theta_i.
            mean: Running mean, which is updated.
            share: Weight of theta_i in the mean.
        """
        step, delta = self.step, self.deltas[domain]
        if not delta.is_set:
            return
        dense = [step.variables[p] for p in step.dense_positions]
        tables = [step.variables[p] for p in step.sparse_positions]
        if not mean.is_set:
            mean.dense = [self._unchanged(variable.read_value()) for variable in dense]
            mean.rows = [concatenate_rows([], table) for table in tables]
            mean.extra = [variable.read_value() for variable in self.extra]
        pairs = zip([*mean.dense, *mean.extra], [*delta.dense, *delta.extra], strict=True)
        blended = _on_host([_interpolate(old, new, share) for old, new in pairs])
        mean.dense, mean.extra = blended[: len(dense)], blended[len(dense) :]
        for position, (table, new) in enumerate(zip(tables, delta.rows, strict=True)):
            old = mean.rows[position]
            indices = np.union1d(old.indices, new.indices)
            values = _interpolate(
                self._rows_at(indices, old, table), self._rows_at(indices, new, table), share
            )
            mean.rows[position] = VariableRows(*_on_host([indices, values]))
        mean.slots, mean.is_set = [], True

    def _rows_at(
        self, indices: np.ndarray, block: VariableRows, table: tf.Variable
    ) -> tf.Tensor:
        """Returns rows of theta_i, those of theta_S where a block does not have them.

        Args:
            indices: Row indices, ascending, that include those of the block.
            block: Rows of theta_i.
            table: Variable that they belong to.
        """
        return tf.tensor_scatter_nd_update(
            self._unchanged(tf.gather(table, indices)),
            np.searchsorted(indices, block.indices)[:, None],
            block.values,
        )

    def _unchanged(self, shared: tf.Tensor) -> tf.Tensor:
        """Returns the theta_i of values that are as in theta_S."""
        return tf.zeros_like(shared) if self.relative else shared

    def _start(self) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the shared values of the variables that are saved whole."""
        self._touched_rows.reset()
        return self.step.read(), [variable.read_value() for variable in self.extra]

    def _add(
        self, dense: list[tf.Tensor], rows: list[VariableRows], extra: list[tf.Tensor]
    ) -> tuple[tuple[list[tf.Tensor], list[tf.Tensor]], list[tf.Tensor]]:
        """Adds theta_i to theta_S.

        Returns:
            The shared values of the variables that are saved whole, and of the rows.
        """
        step, whole = self.step, self._start()
        shared_rows: list[tf.Tensor] = []
        for p, value in zip(step.dense_positions, dense, strict=True):
            variable = step.variables[p]
            (variable.assign_add if self.relative else variable.assign)(value)
        for number, (p, block) in enumerate(zip(step.sparse_positions, rows, strict=True)):
            variable = step.variables[p]
            shared = tf.gather(variable, block.indices)
            shared_rows.append(shared)
            values = shared + block.values if self.relative else block.values
            variable.scatter_update(tf.IndexedSlices(values, block.indices))
            self._touched_rows.touch(number, block.indices)
        for variable, value in zip(self.extra, extra, strict=True):
            variable.assign(value)
        return whole, shared_rows

    def _first_touched(self, rows: list[VariableRows]) -> list[VariableRows]:
        """Returns the rows that are touched for the first time since `enter`.

        Their values before the loop are those of theta_S.
        """
        first = []
        for number, block in enumerate(rows):
            mask = self._touched_rows.first_touched(number, block.indices)
            first.append(VariableRows(*(tf.boolean_mask(part, mask) for part in block)))
        return first

    def _exchange(
        self, dense: list[tf.Tensor], rows: list[VariableRows], extra: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
        """Puts the shared values back, and returns the theta_i of those before."""
        step = self.step
        own_dense, own_rows = [], []
        for p, old in zip(step.dense_positions, dense, strict=True):
            value = step.variables[p].read_value()
            own_dense.append(value - old if self.relative else value)
        for p, block in zip(step.sparse_positions, rows, strict=True):
            value = tf.gather(step.variables[p], block.indices)
            own_rows.append(value - block.values if self.relative else value)
        own_extra = [variable.read_value() for variable in self.extra]
        step.assign(dense, rows)
        for variable, old in zip(self.extra, extra, strict=True):
            variable.assign(old)
        return own_dense, own_rows, own_extra

    def _kept_rows(
        self, indices: tf.Tensor, values: tf.Tensor, is_per_domain: bool
    ) -> VariableRows:
        """Returns the rows to keep; of a per-domain variable, only the domain's own."""
        if is_per_domain:
            is_own = indices == self._domain
            indices, values = tf.boolean_mask(indices, is_own), tf.boolean_mask(values, is_own)
        return VariableRows(*_on_host([indices, values]))

    def _read_slots(self, blocks: list[VariableRows]) -> list[tf.Tensor]:
        step = self.step
        values = [
            step.base_optimizer.iterations.read_value(),
            *(slot.read_value() for slot, _ in step.dense_slots),
        ]
        for slots, block, is_per_domain in zip(
            step.sparse_slots, blocks, self._is_per_domain, strict=True
        ):
            for slot, _ in slots:
                rows = tf.gather(slot, block.indices)
                values.append(self._kept_rows(block.indices, rows, is_per_domain).values)
        return _on_host(values)

    def _write_slots(self, delta: DomainDelta) -> None:
        step, values = self.step, iter(delta.slots)
        step.base_optimizer.iterations.assign(next(values))
        for slot, _ in step.dense_slots:
            slot.assign(next(values))
        for slots, block in zip(step.sparse_slots, delta.rows, strict=True):
            for slot, _ in slots:
                slot.scatter_update(tf.IndexedSlices(next(values), block.indices))


def checkpoint_of(deltas: Iterable[DomainDelta]) -> tf.train.Checkpoint:
    """Returns the specific parameters of domains 0, 1, ... as a trackable object."""
    return tf.train.Checkpoint(
        **{f'domain_{domain}': delta for domain, delta in enumerate(deltas)}
    )


def _interpolate(old: tf.Tensor, new: tf.Tensor, share: float) -> tf.Tensor:
    """Returns old + share (new - old); of integers, the new ones."""
    return old + tf.cast(share, old.dtype) * (new - old) if old.dtype.is_floating else new


def _on_host(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the tensors in host memory, without a copy if they are there already."""
    with tf.device('CPU'):
        return [tf.identity(tensor) for tensor in tensors]

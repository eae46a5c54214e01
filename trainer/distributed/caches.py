"""A worker's copy of the model during an inner loop: MAMDR's static and dynamic cache.

As in figure 7 of the paper:

* A row of an embedding table is queried from its server when the loop first reads it. The
  static cache keeps the row as it was queried; the loop's steps update the dynamic cache.
* Other parameters, and small tables such as those with a row per domain, are pulled whole when
  the loop starts, into both caches.
* After the loop, the difference of the two caches is pushed, of changed rows only, and the
  caches are dropped: they live in one call of a function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.distributed.local_variable import LocalVariable
from trainer.distributed.rules import UpdateRule
from trainer.distributed.servers import NO_SLOTS, ParameterServers, ServerVariable, Slots
from trainer.frameworks.core.snapshot import VariableRows
from trainer.frameworks.core.substitute import substituted
from trainer.keras import tf
from trainer.loop.step import loss_of

INITIAL_ROWS = 1024  # initial capacity of a row cache
PREFETCH_BYTES = 1 << 16  # maximum size of a table that is pulled whole when the loop starts

SlotSources = Sequence[tuple[ServerVariable | None, float]]
"""For each slot, its counterpart on the servers, if they keep it, and its initial value."""


class Traffic:
    """Counter of the traffic between a worker and the servers.

    Attributes:
        counts: Rows pulled, rows pushed, bytes pulled and bytes pushed, int64 [4].
    """

    def __init__(self) -> None:
        self.counts = LocalVariable(tf.zeros([4], tf.int64))

    def pulled(self, values: tf.Tensor, rows: bool = False) -> None:
        """Counts a value that was pulled.

        Args:
            values: The value.
            rows: Whether its first axis counts rows of a table.
        """
        count, size = _sizes(values, rows)
        self.counts.assign_add(tf.stack([count, 0, size, 0]))

    def pushed(
        self, values: tf.Tensor | tf.IndexedSlices | VariableRows, rows: bool = False
    ) -> None:
        """Counts a value that was pushed; arguments as of `pulled`."""
        if isinstance(values, (tf.IndexedSlices, VariableRows)):
            values, rows = values.values, True
        count, size = _sizes(values, rows)
        self.counts.assign_add(tf.stack([0, count, 0, size]))


def _sizes(values: tf.Tensor, rows: bool) -> tuple[tf.Tensor, tf.Tensor]:
    count = tf.shape(values, tf.int64)[0] if rows else tf.constant(0, tf.int64)
    return count, tf.size(values, tf.int64) * values.dtype.size


class Cache:
    """Base class of the caches of a variable.

    Attributes:
        dynamic: Dynamic cache, which the steps update.
        start: The dynamic cache at the last `take`.
        slots: Slots of the optimizer.
    """

    dynamic: LocalVariable
    start: LocalVariable
    slots: list[LocalVariable]
    _slot_sources: SlotSources

    def take(self) -> None:
        """Starts an inner loop at the current values."""
        self.start.assign(self.dynamic.read_value())

    def move(self, rate: float) -> None:
        """theta <- theta + rate (theta~ - theta), theta being the values at the last `take`."""
        new = self.dynamic.read_value()
        self.dynamic.assign(new + (1 - rate) * (self.start.read_value() - new))

    def reset_slots(self) -> None:
        """Resets the slots to their initial values."""
        for slot, (_, initial) in zip(self.slots, self._slot_sources, strict=True):
            slot.assign(tf.fill(tf.shape(slot.read_value()), tf.cast(initial, slot.dtype)))


class WholeCache(Cache):
    """Cache of a parameter that is pulled whole, by the constructor and by `refresh`.

    Args:
        remote: Variable on the servers.
        slots: Slots of the optimizer that updates it; those that are not kept on the servers
            start with their initial values.
        trained: Whether gradient tapes watch the dynamic cache.
        traffic: Counter of the traffic.

    Attributes:
        static: Static cache, the value as it was pulled.
    """

    def __init__(
        self, remote: ServerVariable, slots: SlotSources, trained: bool, traffic: Traffic
    ) -> None:
        self.remote, self._slot_sources, self._traffic = remote, slots, traffic
        value = self._pull(remote)
        self.static, self.dynamic = (
            LocalVariable(value),
            LocalVariable(value, trainable=trained),
        )
        self.start = LocalVariable(value)
        self.slots = [
            LocalVariable(
                tf.fill(value.shape, tf.cast(initial, value.dtype))
                if slot is None
                else self._pull(slot)
            )
            for slot, initial in slots
        ]

    def refresh(self) -> None:
        """Pulls the current value from the servers."""
        value = self._pull(self.remote)
        for variable in (self.static, self.dynamic):
            variable.assign(value)

    def difference(self) -> tf.Tensor:
        """Returns the dynamic cache minus the static cache."""
        return self.dynamic.read_value() - self.static.read_value()

    def for_variable(self, gradient: tf.Tensor) -> tf.Tensor:
        """Converts a gradient of the dynamic cache to one of the variable."""
        return gradient

    def add(self, difference: tf.Tensor, rate: float) -> None:
        """Adds `rate` times a difference to the variable on its server."""
        self.remote.add(rate * difference)

    def push_slots(self) -> None:
        """Pushes the slots to the servers."""
        for slot, (remote, _) in zip(self.slots, self._slot_sources, strict=True):
            assert remote is not None
            self._traffic.pushed(slot.read_value())
            remote.assign(slot.read_value())

    def _pull(self, remote: ServerVariable) -> tf.Tensor:
        values = tf.identity(remote.pull())
        self._traffic.pulled(values)
        return values


class RowCache(Cache):
    """Cache of the rows of a table that were read; replaces the variable in a layer.

    Cached rows are stored in growing blocks, in the order in which they were first read; a hash
    table maps a row's index in the table to its position in the blocks. Of a small table, all
    rows are pulled by the constructor, and positions equal indices.

    Args:
        variable: Variable of the chief's model, for its shape.
        remote: Variable on the servers.
        slots: Slots of the optimizer, as of `WholeCache`.
        trained: Whether gradient tapes watch the dynamic cache.
        traffic: Counter of the traffic.
        prefetch: Whether to pull a small table whole.

    Attributes:
        static: Static cache, the rows as they were pulled, [capacity, ...].
    """

    def __init__(
        self,
        variable: tf.Variable,
        remote: ServerVariable,
        slots: SlotSources,
        trained: bool,
        traffic: Traffic,
        prefetch: bool,
    ) -> None:
        self.shape, self.dtype, self.name = variable.shape, variable.dtype, variable.name
        self.remote, self._slot_sources, self._traffic = remote, slots, traffic
        size = self.shape.num_elements() * self.dtype.size
        self._prefetched = prefetch and size <= PREFETCH_BYTES
        self._capacity = self.shape[0] if self._prefetched else min(INITIAL_ROWS, self.shape[0])
        self._size = LocalVariable(tf.constant(0, tf.int64))
        self.dynamic = self._block(self.dtype, self.shape[1:], trained)
        self.static = self._block(self.dtype, self.shape[1:])
        self.start = self._block(self.dtype, self.shape[1:])
        self.slots = [self._block(self.dtype, self.shape[1:]) for _ in slots]
        self._indices = self._block(tf.int64, ())
        self._changed = self._block(tf.bool, ())
        if self._prefetched:
            everything = tf.range(self.shape[0], dtype=tf.int64)
            self._size.assign(self.shape[0])
            self._fill(everything, everything)
        else:
            self._positions = tf.raw_ops.AnonymousMutableHashTable(
                key_dtype=tf.int64, value_dtype=tf.int64
            )

    def refresh(self) -> None:
        """Drops all rows, of a table that was not pulled whole."""
        size = self._size.read_value()
        tf.raw_ops.LookupTableRemoveV2(
            table_handle=self._positions, keys=self._indices.read_value()[:size]
        )
        self._size.assign(tf.constant(0, tf.int64))
        self._changed.assign(tf.zeros(tf.shape(self._changed.read_value()), tf.bool))

    def sparse_read(self, indices: tf.Tensor, name: str | None = None) -> tf.Tensor:
        """Gathers rows; `tf.gather(self, indices)` calls this as it does for a variable."""
        return tf.gather(self.dynamic, self.positions(indices))

    def scatter_update(self, rows: tf.IndexedSlices) -> None:
        """Replaces rows, like the method of a variable."""
        positions = tf.reshape(self.positions(rows.indices), [-1])
        self.dynamic.scatter_update(
            tf.IndexedSlices(tf.reshape(rows.values, [-1, *self.shape[1:]]), positions)
        )
        self.mark_changed(positions)

    def positions(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the positions of rows in the blocks; pulls those that are missing.

        Args:
            rows: Indices of the rows in the table, of any shape.
        """
        if self._prefetched:
            return tf.cast(rows, tf.int64)
        unique, inverse = tf.unique(tf.reshape(tf.cast(rows, tf.int64), [-1]))
        positions = self._find(unique)
        missing = tf.boolean_mask(unique, positions < 0)

        def pull() -> tf.Tensor:
            self._pull(missing)
            return self._find(unique)

        positions = tf.cond(tf.size(missing) > 0, pull, lambda: positions)
        return tf.reshape(tf.gather(positions, inverse), tf.shape(rows))

    def add_delta(self, rows: VariableRows) -> None:
        """Adds a domain's delta to rows, without repetitions."""
        positions = self.positions(rows.indices)
        self.dynamic.scatter_add(tf.IndexedSlices(rows.values, positions))
        self.mark_changed(positions)

    def for_variable(self, gradient: tf.IndexedSlices) -> tf.IndexedSlices:
        """Converts a gradient of the dynamic cache to one of the table."""
        return tf.IndexedSlices(
            gradient.values, tf.gather(self._indices, gradient.indices), self.shape
        )

    def add(self, difference: VariableRows, rate: float) -> None:
        """Adds `rate` times a difference to the rows on their servers."""
        self.remote.add(rate * difference.values, difference.indices)

    def mark_changed(self, positions: tf.Tensor) -> None:
        """Marks rows, given by their positions, as changed."""
        self._changed.scatter_update(
            tf.IndexedSlices(tf.ones(tf.shape(positions), tf.bool), positions)
        )

    def changed_rows(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the indices and the positions of the changed rows, int64 [n]."""
        positions = tf.where(self._changed[: self._size.read_value()])[:, 0]
        return tf.gather(self._indices, positions), positions

    def difference(self) -> VariableRows:
        """Returns the dynamic cache minus the static cache, of changed rows."""
        indices, positions = self.changed_rows()
        return VariableRows(
            indices, tf.gather(self.dynamic, positions) - tf.gather(self.static, positions)
        )

    def push_slots(self) -> None:
        """Pushes the changed rows' slots to the servers."""
        indices, positions = self.changed_rows()
        for slot, (remote, _) in zip(self.slots, self._slot_sources, strict=True):
            assert remote is not None
            values = tf.gather(slot, positions)
            self._traffic.pushed(values)
            remote.assign(values, indices)

    def _find(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.LookupTableFindV2(
            table_handle=self._positions, keys=rows, default_value=tf.constant(-1, tf.int64)
        )

    def _pull(self, rows: tf.Tensor) -> None:
        first = self._size.read_value()
        size = self._size.assign_add(tf.size(rows, tf.int64), read_value=True)
        capacity = tf.raw_ops.VariableShape(input=self._indices.handle, out_type=tf.int64)[0]
        tf.cond(size > capacity, lambda: self._grow(capacity, size), lambda: tf.constant(0))
        positions = tf.range(first, size)
        tf.raw_ops.LookupTableInsertV2(
            table_handle=self._positions, keys=rows, values=positions
        )
        self._fill(rows, positions)

    def _fill(self, rows: tf.Tensor, positions: tf.Tensor) -> None:
        values = self.remote.pull(rows)
        self._traffic.pulled(values, rows=True)
        for block in (self.dynamic, self.static, self.start):
            block.scatter_update(tf.IndexedSlices(values, positions))
        for block, (remote, initial) in zip(self.slots, self._slot_sources, strict=True):
            if remote is None:
                slot = tf.fill(tf.shape(values), tf.cast(initial, values.dtype))
            else:
                slot = remote.pull(rows)
                self._traffic.pulled(slot)
            block.scatter_update(tf.IndexedSlices(slot, positions))
        self._indices.scatter_update(tf.IndexedSlices(rows, positions))

    def _grow(self, capacity: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        added = tf.maximum(capacity, size - capacity)
        for block in (
            self.dynamic,
            self.static,
            self.start,
            *self.slots,
            self._indices,
            self._changed,
        ):
            old = block.read_value()
            shape = tf.concat([added[None], tf.shape(old, tf.int64)[1:]], axis=0)
            block.assign(tf.concat([old, tf.zeros(shape, old.dtype)], axis=0))
        return tf.constant(0)

    def _block(self, dtype: tf.DType, row: Any, trainable: bool = False) -> LocalVariable:
        return LocalVariable(
            tf.zeros([self._capacity, *row], dtype), shape=[None, *row], trainable=trainable
        )


def _whole(rows: RowCache, dtype: Any = None, name: Any = None, as_ref: bool = False) -> Any:
    """Converts a cache to the whole table, for a layer that does not gather rows of it."""
    return tf.cast(rows.sparse_read(tf.range(rows.shape[0])), dtype or rows.dtype)


tf.register_tensor_conversion_function(RowCache, _whole)


class Caches:
    """Caches of all variables of a model on a worker, for one inner loop.

    They are created and used in the graph of a function that a worker runs.

    Args:
        servers: Servers of the model.
        trained: Variables that the steps update.
        traffic: Counter of the traffic.
        slots: Slots of the inner optimizer.
        rule: Update rule of the inner optimizer; None if only `gradients` and `refresh` are
            used, not `step`.
    """

    def __init__(
        self,
        servers: ParameterServers,
        trained: Sequence[tf.Variable],
        traffic: Traffic,
        slots: Slots = NO_SLOTS,
        rule: UpdateRule | None = None,
    ) -> None:
        self._servers, self._rule, self._slots = servers, rule, slots
        self.trained, self.traffic = list(trained), traffic
        trained_ids = {id(variable) for variable in self.trained}
        self._by_variable: dict[int, WholeCache | RowCache] = {}
        for variable in servers.model.variables:
            sources = slots.by_variable.get(id(variable), [])
            arguments = servers[variable], sources, id(variable) in trained_ids, traffic
            self._by_variable[id(variable)] = (
                RowCache(variable, *arguments, prefetch=rule is not None)
                if servers.is_row_wise(variable)
                else WholeCache(*arguments)
            )
        self._first = (
            tf.constant(0, tf.int64)
            if slots.iterations is None
            else tf.identity(slots.iterations.pull())
        )
        self._iterations = LocalVariable(self._first)

    def __getitem__(self, variable: tf.Variable) -> WholeCache | RowCache:
        """Returns the cache of a variable of the model."""
        return self._by_variable[id(variable)]

    def step(
        self, features: dict[str, tf.Tensor], click: tf.Tensor, factor: tf.Tensor
    ) -> tf.Tensor:
        """Takes one step of the inner optimizer in the dynamic caches.

        Args:
            features: Ids by feature name, and `domain`.
            click: Labels, float32 [batch].
            factor: Factor of the learning rate.

        Returns:
            The mean loss before the step.
        """
        assert self._rule is not None
        loss, gradients = self.gradients(features, click)
        self._rule.begin_step(self._iterations.read_value(), factor)
        for variable, gradient in zip(self.trained, self._rule.prepare(gradients), strict=True):
            cache = self[variable]
            self._rule(gradient, [cache.dynamic, *cache.slots])
            if isinstance(cache, RowCache) and gradient is not None:
                cache.mark_changed(gradient.indices)
        self._iterations.assign_add(1)
        return loss

    def gradients(
        self, features: dict[str, tf.Tensor], click: tf.Tensor
    ) -> tuple[tf.Tensor, list[tf.Tensor | tf.IndexedSlices | None]]:
        """Returns the loss of a batch and its gradients of the dynamic caches.

        The gradient of a `RowCache` refers to rows by their positions in the cache.
        """
        model = self._servers.model
        values = {
            name: cache if isinstance(cache, RowCache) else cache.dynamic
            for name, cache in self._by_variable.items()
        }
        with substituted(model, values), tf.GradientTape() as tape:
            loss = loss_of(model, features, click)
        return loss, tape.gradient(loss, [self[variable].dynamic for variable in self.trained])

    def refresh(self) -> None:
        """Drops cached rows, and pulls the parameters that are read whole again."""
        for cache in self._by_variable.values():
            cache.refresh()

    def take(self) -> None:
        """Starts an inner loop at the current values."""
        for variable in self.trained:
            self[variable].take()

    def move(self, rate: float) -> None:
        """theta <- theta + rate (theta~ - theta), theta being the values at the last `take`."""
        for variable in self.trained:
            self[variable].move(rate)

    def reset_slots(self) -> None:
        """Resets the optimizer to the state before its first step."""
        self._iterations.assign(0)
        for variable in self.trained:
            self[variable].reset_slots()

    def push_slots(self) -> None:
        """Pushes the slots, if the servers keep them."""
        if self._slots.iterations is not None:
            for variable in self.trained:
                self[variable].push_slots()
            self._slots.iterations.add(self._iterations.read_value() - self._first)

    def push_state(
        self, without: Sequence[tf.Variable] = (), rows: tf.Tensor | None = None
    ) -> None:
        """Pushes the variables that are not trained but change, such as moving moments.

        Counters are added up; moments on the servers are replaced by those of the last worker.

        Args:
            without: Variables to leave out.
            rows: Indices of the rows to push, int64 [n], of variables that are read by rows;
                None pushes all that changed.
        """
        excluded = {id(variable) for variable in without}
        for variable in self._servers.model.non_trainable_variables:
            cache = self[variable]
            if id(variable) in excluded:
                continue
            if isinstance(cache, RowCache):
                self._push_rows(cache, rows)
                continue
            self.traffic.pushed(cache.dynamic.read_value())
            if cache.static.shape.rank == 0:
                cache.remote.add(cache.difference())
            else:
                cache.remote.assign(cache.dynamic.read_value())

    def _push_rows(self, cache: RowCache, only: tf.Tensor | None) -> None:
        indices, positions = cache.changed_rows()
        if only is not None:
            chosen = tf.reduce_any(indices[:, None] == only[None], axis=1)
            indices = tf.boolean_mask(indices, chosen)
            positions = tf.boolean_mask(positions, chosen)
        values = tf.gather(cache.dynamic, positions)
        self.traffic.pushed(values, rows=True)
        cache.remote.assign(values, indices)

"""What a worker has of the model during an inner loop: MAMDR's static and dynamic cache.

As figure 7 of the paper has it:

* Of a table that is read by rows, a row is queried from its server when the loop first reads
  it. The static cache keeps it as it came, the dynamic cache as the loop's steps change it.
* Other parameters, and tables as small as those of a few domains, are pulled when the loop
  starts, and kept in both.
* After the loop the difference of the two is sent, of touched rows alone, and what was cached
  is forgotten: caches live in one call of a function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.distributed.local import Local
from trainer.distributed.rules import Rule
from trainer.distributed.servers import NO_SLOTS, Servers, ServerVariable, Slots
from trainer.frameworks.core import Rows
from trainer.frameworks.substitute import substituted
from trainer.keras import tf
from trainer.step import loss_of

ROOM = 1024  # rows, of a cache at first
AHEAD = 1 << 16  # bytes of a table up to which it is pulled at once, when the loop starts

SlotsOf = Sequence[tuple[ServerVariable | None, float]]


class Traffic:
    """Counts what passes between a worker and the servers.

    Attributes:
        counts: rows of tables pulled, rows pushed, bytes pulled, bytes pushed; int64 [4].
    """

    def __init__(self):
        self.counts = Local(tf.zeros([4], tf.int64))

    def pulled(self, values: tf.Tensor, rows: bool = False) -> None:
        """Counts a value that came; rows: whether its first axis is rows of a table."""
        count, size = _sizes(values, rows)
        self.counts.assign_add(tf.stack([count, 0, size, 0]))

    def pushed(self, values: tf.Tensor | tf.IndexedSlices | Rows, rows: bool = False) -> None:
        """Counts a value that went."""
        if isinstance(values, (tf.IndexedSlices, Rows)):
            values, rows = values.values, True
        count, size = _sizes(values, rows)
        self.counts.assign_add(tf.stack([0, count, 0, size]))


def _sizes(values: tf.Tensor, rows: bool) -> tuple[tf.Tensor, tf.Tensor]:
    count = tf.shape(values, tf.int64)[0] if rows else tf.constant(0, tf.int64)
    return count, tf.size(values, tf.int64) * values.dtype.size


class Cache:
    """What all caches do in a loop.

    Attributes:
        dynamic: a variable, as steps change it.
        start: as it was at the last `take`.
        slots: variables, of the optimizer.
    """

    dynamic: Local
    start: Local
    slots: list[Local]
    _slots_of: SlotsOf

    def take(self) -> None:
        """A loop starts here."""
        self.start.assign(self.dynamic.read_value())

    def move(self, rate: float) -> None:
        """From the loop's start towards where it has come to."""
        new = self.dynamic.read_value()
        self.dynamic.assign(new + (1 - rate) * (self.start.read_value() - new))

    def reset_slots(self) -> None:
        """The slots are those of a first step."""
        for slot, (_, initial) in zip(self.slots, self._slots_of, strict=True):
            slot.assign(tf.fill(tf.shape(slot.read_value()), tf.cast(initial, slot.dtype)))


class WholeCache(Cache):
    """A parameter that is pulled whole, when this is made and by `renew`.

    Args:
        remote: on the servers.
        slots: of the optimizer that will move it; those that are not on the servers are as
            for a first step.
        trained: whether gradients of it are wanted.
        traffic: counts.

    Attributes:
        static: a variable, as it was pulled.
        dynamic: as steps change it.
        start: as it was at the last `take`.
        slots: variables.
    """

    def __init__(self, remote: ServerVariable, slots: SlotsOf, trained: bool,
                 traffic: Traffic):
        self.remote, self._slots_of, self._traffic = remote, slots, traffic
        value = self._pull(remote)
        self.static, self.dynamic = Local(value), Local(value, trainable=trained)
        self.start = Local(value)
        self.slots = [
            Local(tf.fill(value.shape, tf.cast(initial, value.dtype))
                  if slot is None else self._pull(slot)) for slot, initial in slots]

    def renew(self) -> None:
        """Forgets what was pulled, and pulls what is there now."""
        value = self._pull(self.remote)
        for variable in (self.static, self.dynamic):
            variable.assign(value)

    def difference(self) -> tf.Tensor:
        """The dynamic cache less the static one."""
        return self.dynamic.read_value() - self.static.read_value()

    def named(self, gradient: tf.Tensor) -> tf.Tensor:
        """A gradient by the dynamic cache as one by the variable."""
        return gradient

    def add(self, difference: tf.Tensor, rate: float) -> None:
        """Adds a share of a difference to the variable on its server."""
        self.remote.add(rate * difference)

    def push_slots(self) -> None:
        """Puts the slots onto the servers."""
        for slot, (remote, _) in zip(self.slots, self._slots_of, strict=True):
            self._traffic.pushed(slot.read_value())
            remote.put(slot.read_value())

    def _pull(self, remote: ServerVariable) -> tf.Tensor:
        values = tf.identity(remote.pull())
        self._traffic.pulled(values)
        return values


class RowCache(Cache):
    """Some rows of a table: those that were read. It stands in a layer for the variable.

    Cached rows lie side by side in blocks that grow, in the order in which they came; a hash
    table knows where each is. A small table is there from the start, row for row.

    Args:
        variable: of the chief's model, for its shape.
        remote, slots, trained, traffic: as of `WholeCache`.
        ahead: whether a small table may be pulled at once.

    Attributes:
        dynamic: the cached rows as steps change them, [room, ...].
        static: as they were pulled.
        slots: of the optimizer.
    """

    def __init__(self, variable: tf.Variable, remote: ServerVariable, slots: SlotsOf,
                 trained: bool, traffic: Traffic, ahead: bool):
        self.shape, self.dtype, self.name = variable.shape, variable.dtype, variable.name
        self.remote, self._slots_of, self._traffic = remote, slots, traffic
        self._ahead = ahead and self.shape.num_elements() * self.dtype.size <= AHEAD
        self._room = self.shape[0] if self._ahead else min(ROOM, self.shape[0])
        self._size = Local(tf.constant(0, tf.int64))
        self.dynamic = self._block(self.dtype, self.shape[1:], trained)
        self.static = self._block(self.dtype, self.shape[1:])
        self.start = self._block(self.dtype, self.shape[1:])
        self.slots = [self._block(self.dtype, self.shape[1:]) for _ in slots]
        self._numbers = self._block(tf.int64, ())
        self._touched = self._block(tf.bool, ())
        if self._ahead:
            everything = tf.range(self.shape[0], dtype=tf.int64)
            self._size.assign(self.shape[0])
            self._fill(everything, everything)
        else:
            self._places = tf.raw_ops.AnonymousMutableHashTable(
                key_dtype=tf.int64, value_dtype=tf.int64)

    def renew(self) -> None:
        """Forgets what was pulled, of a table that is not there from the start."""
        size = self._size.read_value()
        tf.raw_ops.LookupTableRemoveV2(
            table_handle=self._places, keys=self._numbers.read_value()[:size])
        self._size.assign(tf.constant(0, tf.int64))
        self._touched.assign(tf.zeros(tf.shape(self._touched.read_value()), tf.bool))

    def sparse_read(self, indices: tf.Tensor, name: str | None = None) -> tf.Tensor:
        """What `tf.gather(self, indices)` calls, as for a variable."""
        return tf.gather(self.dynamic, self.places(indices))

    def scatter_update(self, rows: tf.IndexedSlices) -> None:
        """Replaces rows, as a variable does."""
        places = tf.reshape(self.places(rows.indices), [-1])
        self.dynamic.scatter_update(tf.IndexedSlices(
            tf.reshape(rows.values, [-1, *self.shape[1:]]), places))
        self.touch(places)

    def places(self, rows: tf.Tensor) -> tf.Tensor:
        """Where rows are in the blocks, int64 of the shape of `rows`; what is missing is
        pulled."""
        if self._ahead:
            return tf.cast(rows, tf.int64)
        different, where = tf.unique(tf.reshape(tf.cast(rows, tf.int64), [-1]))
        found = self._find(different)
        missing = tf.boolean_mask(different, found < 0)

        def pull():
            self._pull(missing)
            return self._find(different)
        found = tf.cond(tf.size(missing) > 0, pull, lambda: found)
        return tf.reshape(tf.gather(found, where), tf.shape(rows))

    def enter(self, rows: Rows) -> None:
        """Adds to some rows, once each, what a domain has of its own."""
        places = self.places(rows.numbers)
        self.dynamic.scatter_add(tf.IndexedSlices(rows.values, places))
        self.touch(places)

    def named(self, gradient: tf.IndexedSlices) -> tf.IndexedSlices:
        """A gradient by the dynamic cache as one by the table."""
        return tf.IndexedSlices(gradient.values, tf.gather(self._numbers, gradient.indices),
                                self.shape)

    def add(self, difference: Rows, rate: float) -> None:
        """Adds a share of a difference to the rows on their servers."""
        self.remote.add(rate * difference.values, difference.numbers)

    def touch(self, places: tf.Tensor) -> None:
        """Rows have been changed."""
        self._touched.scatter_update(tf.IndexedSlices(
            tf.ones(tf.shape(places), tf.bool), places))

    def changed(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The changed rows' numbers and places, int64 [n]."""
        places = tf.where(self._touched[:self._size.read_value()])[:, 0]
        return tf.gather(self._numbers, places), places

    def difference(self) -> Rows:
        """The dynamic cache less the static one, of changed rows."""
        numbers, places = self.changed()
        return Rows(numbers, tf.gather(self.dynamic, places) - tf.gather(self.static, places))

    def push_slots(self) -> None:
        """Puts the changed rows' slots onto the servers."""
        numbers, places = self.changed()
        for slot, (remote, _) in zip(self.slots, self._slots_of, strict=True):
            values = tf.gather(slot, places)
            self._traffic.pushed(values)
            remote.put(values, numbers)

    def _find(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.LookupTableFindV2(table_handle=self._places, keys=rows,
                                            default_value=tf.constant(-1, tf.int64))

    def _pull(self, rows: tf.Tensor) -> None:
        first = self._size.read_value()
        size = self._size.assign_add(tf.size(rows, tf.int64), read_value=True)
        room = tf.raw_ops.VariableShape(input=self._numbers.handle, out_type=tf.int64)[0]
        tf.cond(size > room, lambda: self._grow(room, size), lambda: tf.constant(0))
        places = tf.range(first, size)
        tf.raw_ops.LookupTableInsertV2(table_handle=self._places, keys=rows, values=places)
        self._fill(rows, places)

    def _fill(self, rows: tf.Tensor, places: tf.Tensor) -> None:
        values = self.remote.pull(rows)
        self._traffic.pulled(values, rows=True)
        for block in (self.dynamic, self.static, self.start):
            block.scatter_update(tf.IndexedSlices(values, places))
        for block, (remote, initial) in zip(self.slots, self._slots_of, strict=True):
            if remote is None:
                of_rows = tf.fill(tf.shape(values), tf.cast(initial, values.dtype))
            else:
                of_rows = remote.pull(rows)
                self._traffic.pulled(of_rows)
            block.scatter_update(tf.IndexedSlices(of_rows, places))
        self._numbers.scatter_update(tf.IndexedSlices(rows, places))

    def _grow(self, room: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        more = tf.maximum(room, size - room)
        for block in (self.dynamic, self.static, self.start, *self.slots, self._numbers,
                      self._touched):
            old = block.read_value()
            block.assign(tf.concat([old, tf.zeros(tf.concat(
                [more[None], tf.shape(old, tf.int64)[1:]], axis=0), old.dtype)], axis=0))
        return tf.constant(0)

    def _block(self, dtype: tf.DType, row: Any, trainable: bool = False) -> Local:
        return Local(tf.zeros([self._room, *row], dtype), shape=[None, *row],
                     trainable=trainable)


def _whole(rows: RowCache, dtype: Any = None, name: Any = None, as_ref: bool = False) -> Any:
    """The whole table, for a layer that does not read it by rows."""
    return tf.cast(rows.sparse_read(tf.range(rows.shape[0])), dtype or rows.dtype)


tf.register_tensor_conversion_function(RowCache, _whole)


class Caches:
    """All variables of a model on a worker, for the length of one inner loop.

    Made, and used, in the graph of a function that a worker runs.

    Args:
        servers: of the model.
        trained: the variables that steps move.
        traffic: counts what is pulled and pushed.
        slots: of the inner optimizer.
        rule: of that optimizer; absent, `step` is not called, and `renew` may be.

    Attributes:
        of: what caches each variable of the model, by its identity.
    """

    def __init__(self, servers: Servers, trained: Sequence[tf.Variable], traffic: Traffic,
                 slots: Slots = NO_SLOTS, rule: Rule | None = None):
        self._servers, self._rule, self._slots = servers, rule, slots
        self.trained, self.traffic = list(trained), traffic
        moved = {id(variable) for variable in self.trained}
        self.of: dict[int, WholeCache | RowCache] = {}
        for variable in servers.model.variables:
            mine = slots.of.get(id(variable), [])
            arguments = servers[variable], mine, id(variable) in moved, traffic
            self.of[id(variable)] = (
                RowCache(variable, *arguments, ahead=rule is not None)
                if servers.by_row(variable) else WholeCache(*arguments))
        self._first = (tf.constant(0, tf.int64) if slots.iterations is None
                       else tf.identity(slots.iterations.pull()))
        self._iterations = Local(self._first)

    def __getitem__(self, variable: tf.Variable) -> WholeCache | RowCache:
        """What caches a variable of the model."""
        return self.of[id(variable)]

    def step(self, features: dict[str, tf.Tensor], click: tf.Tensor,
             factor: tf.Tensor) -> tf.Tensor:
        """One step of the inner optimizer, in the dynamic cache, at its rate times a factor;
        the loss before it."""
        loss, gradients = self.gradients(features, click)
        self._rule.begin(self._iterations.read_value(), factor)
        for variable, gradient in zip(self.trained, self._rule.prepared(gradients),
                                      strict=True):
            cache = self[variable]
            self._rule(gradient, [cache.dynamic, *cache.slots])
            if isinstance(cache, RowCache) and gradient is not None:
                cache.touch(gradient.indices)
        self._iterations.assign_add(1)
        return loss

    def gradients(self, features: dict[str, tf.Tensor], click: tf.Tensor
                  ) -> tuple[tf.Tensor, list[tf.Tensor | tf.IndexedSlices | None]]:
        """The loss of a batch and its gradients by the trained variables; those of rows by
        their places in the cache."""
        model = self._servers.model
        values = {name: cache if isinstance(cache, RowCache) else cache.dynamic
                  for name, cache in self.of.items()}
        with substituted(model, values), tf.GradientTape() as tape:
            loss = loss_of(model, features, click)
        return loss, tape.gradient(loss, [self[variable].dynamic for variable in self.trained])

    def renew(self) -> None:
        """Forgets everything, and pulls again what is read whole."""
        for cache in self.of.values():
            cache.renew()

    def take(self) -> None:
        """A loop starts: `move` goes from here."""
        for variable in self.trained:
            self[variable].take()

    def move(self, rate: float) -> None:
        """theta <- theta + rate (theta~ - theta), theta being the values at `take`."""
        for variable in self.trained:
            self[variable].move(rate)

    def reset_slots(self) -> None:
        """The optimizer is as before its first step."""
        self._iterations.assign(0)
        for variable in self.trained:
            self[variable].reset_slots()

    def push_slots(self) -> None:
        """Puts the slots onto the servers, where they are kept."""
        if self._slots.iterations is not None:
            for variable in self.trained:
                self[variable].push_slots()
            self._slots.iterations.add(self._iterations.read_value() - self._first)

    def push_state(self, without: Sequence[tf.Variable] = (),
                   rows: tf.Tensor | None = None) -> None:
        """Sends what steps change beside parameters: counts are added, and averages, of which
        the last worker's are as good as any, replaced.

        Args:
            without: variables of which nothing is sent.
            rows: of variables that are read by rows, the only ones to send; int64 [n].
        """
        left_out = {id(variable) for variable in without}
        for variable in self._servers.model.non_trainable_variables:
            cache = self[variable]
            if id(variable) in left_out:
                continue
            if isinstance(cache, RowCache):
                self._push_rows(cache, rows)
                continue
            self.traffic.pushed(cache.dynamic.read_value())
            if cache.static.shape.rank == 0:
                cache.remote.add(cache.difference())
            else:
                cache.remote.put(cache.dynamic.read_value())

    def _push_rows(self, cache: RowCache, only: tf.Tensor | None) -> None:
        numbers, places = cache.changed()
        if only is not None:
            wanted = tf.reduce_any(numbers[:, None] == only[None], axis=1)
            numbers, places = tf.boolean_mask(numbers, wanted), tf.boolean_mask(places, wanted)
        values = tf.gather(cache.dynamic, places)
        self.traffic.pushed(values, rows=True)
        cache.remote.put(values, numbers)

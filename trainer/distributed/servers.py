"""The model's variables on the parameter servers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from trainer.distributed.rules import Gradient, Rule
from trainer.frameworks.core import rows_read
from trainer.frameworks.moments import domain_led
from trainer.keras import tf
from trainer.models.base import CTRModel
from trainer.optimizers import RowOptimizer

_BLOCK_BYTES = 64 << 20  # of a table, that travel at once between the chief and a server


class Part(NamedTuple):
    """What a server has of some rows: which of its variables, the rows' numbers there, and
    their values."""

    place: int
    numbers: tf.Tensor
    values: tf.Tensor


class ServerVariable:
    """A variable on the servers: one of them has it whole, or its rows are dealt out to all,
    row r to server r mod n, so that the frequent values of a vocabulary, which come first, are
    spread over them.

    Args:
        parts: its variables; of the shapes that `shapes_of_parts` gives.
    """

    def __init__(self, parts: Sequence[tf.Variable]):
        self.parts = list(parts)

    def pull(self, rows: tf.Tensor | None = None) -> tf.Tensor:
        """The value, or some rows of it: int64 [n] to [n, ...]."""
        if rows is None:
            return self.parts[0].read_value()
        count = len(self.parts)
        if count == 1:
            return tf.gather(self.parts[0], rows)
        server = tf.cast(rows % count, tf.int32)
        asked = tf.dynamic_partition(rows // count, server, count)
        places = tf.dynamic_partition(tf.range(tf.size(rows)), server, count)
        return tf.dynamic_stitch(places, [tf.gather(part, numbers) for part, numbers
                                          in zip(self.parts, asked, strict=True)])

    def put(self, values: tf.Tensor, rows: tf.Tensor | None = None) -> None:
        """Replaces the value, or different rows of it."""
        if rows is None:
            self.parts[0].assign(values)
            return
        for place, numbers, of_part in self.split(values, rows):
            self.parts[place].scatter_update(tf.IndexedSlices(of_part, numbers))

    def add(self, values: tf.Tensor, rows: tf.Tensor | None = None) -> None:
        """Adds to the value, or to different rows of it."""
        if rows is None:
            self.parts[0].assign_add(values)
            return
        for place, numbers, of_part in self.split(values, rows):
            self.parts[place].scatter_add(tf.IndexedSlices(of_part, numbers))

    def split(self, values: tf.Tensor, rows: tf.Tensor) -> Iterator[Part]:
        """Rows by the server that has them."""
        count = len(self.parts)
        if count == 1:
            yield Part(0, rows, values)
            return
        server = tf.cast(rows % count, tf.int32)
        yield from map(Part, range(count), tf.dynamic_partition(rows // count, server, count),
                       tf.dynamic_partition(values, server, count))

    def load(self, variable: tf.Variable) -> None:
        """Takes the value of a variable of the chief."""
        if len(self.parts) == 1 and _bytes(variable) <= _BLOCK_BYTES:
            self.parts[0].assign(variable)
            return
        for part, numbers, rows in self._blocks(variable):
            part.scatter_update(tf.IndexedSlices(tf.gather(variable, rows), numbers))

    def fetch(self, variable: tf.Variable) -> None:
        """Gives a variable of the chief its value."""
        if len(self.parts) == 1 and _bytes(variable) <= _BLOCK_BYTES:
            variable.assign(tf.identity(self.parts[0]))
            return
        for part, numbers, rows in self._blocks(variable):
            variable.scatter_update(tf.IndexedSlices(tf.gather(part, numbers), rows))

    def _blocks(self, variable: tf.Variable
                ) -> Iterator[tuple[tf.Variable, np.ndarray, np.ndarray]]:
        """All rows, some at a time: a part, their numbers there and in the variable."""
        size = max(1, _BLOCK_BYTES * variable.shape[0] // max(1, _bytes(variable)))
        for place, part in enumerate(self.parts):
            for first in range(0, part.shape[0], size):
                numbers = np.arange(first, min(first + size, part.shape[0]))
                yield part, numbers, numbers * len(self.parts) + place


def shapes_of_parts(shape: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Of the parts of a table whose rows are dealt out to `count` servers."""
    count = min(count, shape[0])
    return [(-(-(shape[0] - place) // count), *shape[1:]) for place in range(count)]


class Slots(NamedTuple):
    """An optimizer's slots.

    Attributes:
        of: those of each variable, by its identity, each with the value that it starts from;
            None for a slot that is not on the servers.
        iterations: the steps so far; None if they are not on the servers.
    """

    of: dict[int, list[tuple[ServerVariable | None, float]]]
    iterations: ServerVariable | None


NO_SLOTS = Slots({}, None)


class Servers:
    """All variables of a model on the servers, each beside the chief's own.

    The chief's model is an ordinary one: `load` gives its values to the servers, `fetch`
    brings theirs back, for validation, checkpoints and the export.

    Args:
        model: with its variables made.
        strategy: that names the servers; without one the variables are made here, for tests.
        count: of servers.
    """

    def __init__(self, model: CTRModel,
                 strategy: tf.distribute.ParameterServerStrategy | None = None,
                 count: int = 1):
        self.model = model
        self._strategy, self._count = strategy, count
        self._pairs: list[tuple[tf.Variable, ServerVariable]] = []
        trainable = list(model.trainable_variables)
        led = domain_led(model)
        self._by_row = {
            **{id(variable): by_row for variable, by_row
               in zip(trainable, rows_read(model, trainable), strict=True)},
            **{id(variable): id(variable) in led for variable in model.non_trainable_variables}}
        self._of = {id(variable): self._make(variable, self._by_row[id(variable)])
                    for variable in model.variables}

    def __getitem__(self, variable: tf.Variable) -> ServerVariable:
        """What stands for a variable of the model."""
        return self._of[id(variable)]

    def by_row(self, variable: tf.Variable) -> bool:
        """Whether a variable is read by rows, and dealt out."""
        return self._by_row[id(variable)]

    def slots(self, optimizer: RowOptimizer, variables: Sequence[tf.Variable],
              keep: bool = True) -> Slots:
        """Makes an optimizer's slots for some variables, beside them.

        Args:
            optimizer: built for the variables; `load` and `fetch` are of its slots too.
            variables: of the model.
            keep: whether the servers have them.
        """
        def made(slot, variable):
            return self._make(slot, self.by_row(variable), self[variable]) if keep else None
        of = {id(variable): [(made(slot, variable), initial)
                             for slot, initial in optimizer.slots_of(variable)]
              for variable in variables}
        return Slots(of, self._make(optimizer.iterations, False) if keep else None)

    def load(self, variables: Sequence[tf.Variable] | None = None) -> None:
        """Gives the servers the chief's values, all of them or of some variables."""
        wanted = None if variables is None else {id(variable) for variable in variables}
        for variable, remote in self._pairs:
            if wanted is None or id(variable) in wanted:
                remote.load(variable)

    def fetch(self) -> None:
        """Gives the chief the servers' values."""
        for variable, remote in self._pairs:
            remote.fetch(variable)

    def _make(self, variable: tf.Variable, by_row: bool,
              beside: ServerVariable | None = None) -> ServerVariable:
        shapes = (shapes_of_parts(variable.shape, self._count) if by_row
                  else [tuple(variable.shape)])
        neighbors = beside.parts if beside else itertools.repeat(None, len(shapes))
        parts = []
        for shape, neighbor in zip(shapes, neighbors, strict=True):
            with self._place(neighbor):
                parts.append(tf.Variable(
                    lambda shape=shape: tf.zeros(shape, variable.dtype), shape=shape,
                    dtype=variable.dtype, trainable=False))
        made = ServerVariable(parts)
        self._pairs.append((variable, made))
        return made

    @contextlib.contextmanager
    def _place(self, neighbor: tf.Variable | None) -> Iterator[None]:
        """The next server in turn, or the one that has a variable."""
        if self._strategy is None:
            yield
        elif neighbor is None:
            with self._strategy.scope():
                yield
        else:
            with self._strategy.scope(), self._strategy.extended.colocate_vars_with(neighbor):
                yield


class ServerOptimizer:
    """An optimizer that runs on the servers: gradients travel there, slots never do.

    Args:
        servers: of the variables.
        optimizer: built for the variables; `load` and `fetch` are of its slots.
        variables: of the model.
    """

    def __init__(self, servers: Servers, optimizer: RowOptimizer,
                 variables: Sequence[tf.Variable]):
        self._servers = servers
        self._rule = Rule(optimizer)
        self._slots = servers.slots(optimizer, variables)

    def apply(self, gradients: Sequence[tuple[Gradient, tf.Variable]],
              factor: tf.Tensor | float = 1.0) -> None:
        """One step, in the graph of a function.

        Args:
            gradients: with the variables of the model; of a variable that is read by rows,
                `tf.IndexedSlices`.
            factor: of the learning rate.
        """
        done = self._rule.prepared([gradient for gradient, _ in gradients])
        self._rule.begin(self._slots.iterations.pull(), factor)
        for gradient, (_, variable) in zip(done, gradients, strict=True):
            if gradient is not None:
                self._apply(gradient, variable)
        self._slots.iterations.add(tf.constant(1, tf.int64))

    def _apply(self, gradient: Gradient, variable: tf.Variable) -> None:
        remote = self._servers[variable]
        slots = [slot.parts for slot, _ in self._slots.of[id(variable)]]
        if not self._servers.by_row(variable):
            with tf.device(remote.parts[0].device):
                self._rule(tf.convert_to_tensor(gradient),
                           [remote.parts[0], *(parts[0] for parts in slots)])
            return
        rows = tf.cast(gradient.indices, tf.int64)
        for place, numbers, values in remote.split(gradient.values, rows):
            with tf.device(remote.parts[place].device):
                self._rule(tf.IndexedSlices(values, numbers),
                           [remote.parts[place], *(parts[place] for parts in slots)])


def _bytes(variable: tf.Variable) -> int:
    return int(np.prod(variable.shape)) * variable.dtype.size

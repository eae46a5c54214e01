"""The model's variables on the parameter servers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from trainer.distributed.rules import Gradient, UpdateRule
from trainer.frameworks.core.moments import per_domain_variable_ids
from trainer.frameworks.core.snapshot import has_sparse_gradient
from trainer.keras import tf
from trainer.models.base import CTRModel
from trainer.optimizers.row_optimizer import RowOptimizer

_BLOCK_BYTES = 64 << 20  # maximum size of a transfer between the chief and a server


class ShardRows(NamedTuple):
    """Rows of one shard.

    Attributes:
        shard: Number of the shard.
        indices: Indices of the rows in the shard, int64 [n].
        values: Their values, [n, ...].
    """

    shard: int
    indices: tf.Tensor
    values: tf.Tensor


class ServerVariable:
    """A variable on the servers, whole on one of them or sharded by rows over all.

    Row r of a sharded variable is on server r mod n. Vocabularies begin with their frequent
    values, which are thus spread over the servers.

    Args:
        shards: Variables on the servers, of the shapes that `shard_shapes` returns.
    """

    def __init__(self, shards: Sequence[tf.Variable]) -> None:
        self.shards = list(shards)

    def pull(self, rows: tf.Tensor | None = None) -> tf.Tensor:
        """Reads the value, or rows of it.

        Args:
            rows: Indices of the rows, int64 [n], possibly repeated; None reads the variable
                whole, which must have one shard.
        """
        if rows is None:
            return self.shards[0].read_value()
        count = len(self.shards)
        if count == 1:
            return tf.gather(self.shards[0], rows)
        shard = tf.cast(rows % count, tf.int32)
        indices = tf.dynamic_partition(rows // count, shard, count)
        positions = tf.dynamic_partition(tf.range(tf.size(rows)), shard, count)
        values = [
            tf.gather(variable, of_shard)
            for variable, of_shard in zip(self.shards, indices, strict=True)
        ]
        return tf.dynamic_stitch(positions, values)

    def assign(self, values: tf.Tensor, rows: tf.Tensor | None = None) -> None:
        """Replaces the value, or rows of it.

        Args:
            values: New values.
            rows: Indices of the rows, without repetitions, int64 [n]; None replaces the
                variable whole, which must have one shard.
        """
        if rows is None:
            self.shards[0].assign(values)
            return
        for shard, indices, of_shard in self.split(values, rows):
            self.shards[shard].scatter_update(tf.IndexedSlices(of_shard, indices))

    def add(self, values: tf.Tensor, rows: tf.Tensor | None = None) -> None:
        """Adds to the value, or to rows of it; arguments as of `assign`."""
        if rows is None:
            self.shards[0].assign_add(values)
            return
        for shard, indices, of_shard in self.split(values, rows):
            self.shards[shard].scatter_add(tf.IndexedSlices(of_shard, indices))

    def split(self, values: tf.Tensor, rows: tf.Tensor) -> Iterator[ShardRows]:
        """Splits rows by shard.

        Args:
            values: Values of the rows, [n, ...].
            rows: Indices of the rows in the variable, int64 [n].
        """
        count = len(self.shards)
        if count == 1:
            yield ShardRows(0, rows, values)
            return
        shard = tf.cast(rows % count, tf.int32)
        yield from map(
            ShardRows,
            range(count),
            tf.dynamic_partition(rows // count, shard, count),
            tf.dynamic_partition(values, shard, count),
        )

    def load(self, variable: tf.Variable) -> None:
        """Copies the value of a variable of the chief to the servers."""
        if len(self.shards) == 1 and _bytes(variable) <= _BLOCK_BYTES:
            self.shards[0].assign(variable)
            return
        for shard, indices, rows in self._blocks(variable):
            shard.scatter_update(tf.IndexedSlices(tf.gather(variable, rows), indices))

    def fetch(self, variable: tf.Variable) -> None:
        """Copies the value on the servers to a variable of the chief."""
        if len(self.shards) == 1 and _bytes(variable) <= _BLOCK_BYTES:
            variable.assign(tf.identity(self.shards[0]))
            return
        for shard, indices, rows in self._blocks(variable):
            variable.scatter_update(tf.IndexedSlices(tf.gather(shard, indices), rows))

    def _blocks(
        self, variable: tf.Variable
    ) -> Iterator[tuple[tf.Variable, np.ndarray, np.ndarray]]:
        """Yields all rows in blocks: a shard, their indices in it and in the variable."""
        size = max(1, _BLOCK_BYTES * variable.shape[0] // max(1, _bytes(variable)))
        for number, shard in enumerate(self.shards):
            for first in range(0, shard.shape[0], size):
                indices = np.arange(first, min(first + size, shard.shape[0]))
                yield shard, indices, indices * len(self.shards) + number


def shard_shapes(shape: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Returns the shapes of a variable's shards on `count` servers; no shard is empty."""
    count = min(count, shape[0])
    return [(-(-(shape[0] - shard) // count), *shape[1:]) for shard in range(count)]


class Slots(NamedTuple):
    """An optimizer's slots.

    Attributes:
        by_variable: Slots of each variable by its identity, each with its initial value; None
            for a slot that is not kept on the servers.
        iterations: Number of steps so far; None if the slots are not kept on the servers.
    """

    by_variable: dict[int, list[tuple[ServerVariable | None, float]]]
    iterations: ServerVariable | None


NO_SLOTS = Slots({}, None)


class ParameterServers:
    """All variables of a model on the servers, each with its counterpart on the chief.

    The chief's model is an ordinary one. `load` copies its values to the servers, and `fetch`
    copies them back for validation, checkpoints and the export.

    Args:
        model: Model with its variables built.
        strategy: Strategy that names the servers; None creates the variables in this process.
        count: Number of servers.
    """

    def __init__(
        self,
        model: CTRModel,
        strategy: tf.distribute.ParameterServerStrategy | None = None,
        count: int = 1,
    ) -> None:
        self.model = model
        self._strategy, self._count = strategy, count
        self._pairs: list[tuple[tf.Variable, ServerVariable]] = []
        trainable = list(model.trainable_variables)
        per_domain = per_domain_variable_ids(model)
        sparse = zip(trainable, has_sparse_gradient(model, trainable), strict=True)
        self._row_wise = {id(variable): is_sparse for variable, is_sparse in sparse} | {
            id(variable): id(variable) in per_domain
            for variable in model.non_trainable_variables
        }
        self._by_variable = {
            id(variable): self._create(variable, self._row_wise[id(variable)])
            for variable in model.variables
        }

    def __getitem__(self, variable: tf.Variable) -> ServerVariable:
        """Returns the counterpart of a variable of the model."""
        return self._by_variable[id(variable)]

    def is_row_wise(self, variable: tf.Variable) -> bool:
        """Tells whether a variable is read by rows, and therefore sharded by rows."""
        return self._row_wise[id(variable)]

    def slots(
        self, optimizer: RowOptimizer, variables: Sequence[tf.Variable], keep: bool = True
    ) -> Slots:
        """Creates an optimizer's slots, on the servers of their variables.

        Args:
            optimizer: Optimizer, built for the variables; `load` and `fetch` copy its slots.
            variables: Variables of the model.
            keep: Whether the servers keep the slots; if not, each inner loop has its own.
        """

        def create(slot: tf.Variable, variable: tf.Variable) -> ServerVariable | None:
            if not keep:
                return None
            return self._create(slot, self.is_row_wise(variable), self[variable])

        by_variable = {
            id(variable): [
                (create(slot, variable), initial)
                for slot, initial in optimizer.slots_of(variable)
            ]
            for variable in variables
        }
        return Slots(by_variable, self._create(optimizer.iterations, False) if keep else None)

    def load(self, variables: Sequence[tf.Variable] | None = None) -> None:
        """Copies the chief's values to the servers.

        Args:
            variables: Variables to copy; None copies all, with the slots.
        """
        chosen = None if variables is None else {id(variable) for variable in variables}
        for variable, remote in self._pairs:
            if chosen is None or id(variable) in chosen:
                remote.load(variable)

    def fetch(self) -> None:
        """Copies the servers' values to the chief."""
        for variable, remote in self._pairs:
            remote.fetch(variable)

    def _create(
        self, variable: tf.Variable, row_wise: bool, colocate_with: ServerVariable | None = None
    ) -> ServerVariable:
        shapes = (
            shard_shapes(variable.shape, self._count) if row_wise else [tuple(variable.shape)]
        )
        neighbors = (
            colocate_with.shards if colocate_with else itertools.repeat(None, len(shapes))
        )
        shards = []
        for shape, neighbor in zip(shapes, neighbors, strict=True):
            with self._device(neighbor):
                shards.append(
                    tf.Variable(
                        lambda shape=shape: tf.zeros(shape, variable.dtype),
                        shape=shape,
                        dtype=variable.dtype,
                        trainable=False,
                    )
                )
        remote = ServerVariable(shards)
        self._pairs.append((variable, remote))
        return remote

    @contextlib.contextmanager
    def _device(self, neighbor: tf.Variable | None) -> Iterator[None]:
        """Context that creates variables on a neighbor's server, or on the next server."""
        if self._strategy is None:
            yield
        elif neighbor is None:
            with self._strategy.scope():
                yield
        else:
            with self._strategy.scope(), self._strategy.extended.colocate_vars_with(neighbor):
                yield


class ServerOptimizer:
    """An optimizer that runs on the servers: it receives gradients, and slots never travel.

    Args:
        servers: Servers of the variables.
        optimizer: Optimizer built for the variables; `load` and `fetch` of the servers copy its
            slots.
        variables: Variables of the model.
    """

    def __init__(
        self,
        servers: ParameterServers,
        optimizer: RowOptimizer,
        variables: Sequence[tf.Variable],
    ) -> None:
        self._servers = servers
        self._rule = UpdateRule(optimizer)
        slots = servers.slots(optimizer, variables)
        assert slots.iterations is not None
        self._iterations = slots.iterations
        self._slots = {
            key: [slot for slot, _ in of_variable if slot is not None]
            for key, of_variable in slots.by_variable.items()
        }

    def apply(
        self, gradients: Sequence[tuple[Gradient, tf.Variable]], factor: tf.Tensor | float = 1.0
    ) -> None:
        """Takes one step, in the graph of a function.

        Args:
            gradients: Gradients with their variables of the model; those of variables that are
                read by rows are `tf.IndexedSlices`.
            factor: Factor of the learning rate.
        """
        prepared = self._rule.prepare([gradient for gradient, _ in gradients])
        self._rule.begin_step(self._iterations.pull(), factor)
        for gradient, (_, variable) in zip(prepared, gradients, strict=True):
            if gradient is not None:
                self._apply(gradient, variable)
        self._iterations.add(tf.constant(1, tf.int64))

    def _apply(self, gradient: Gradient, variable: tf.Variable) -> None:
        remotes = [self._servers[variable], *self._slots[id(variable)]]
        if not self._servers.is_row_wise(variable):
            with tf.device(remotes[0].shards[0].device):
                self._rule(
                    tf.convert_to_tensor(gradient), [remote.shards[0] for remote in remotes]
                )
            return
        assert gradient is not None
        rows = tf.cast(gradient.indices, tf.int64)
        for shard, indices, values in remotes[0].split(gradient.values, rows):
            with tf.device(remotes[0].shards[shard].device):
                self._rule(
                    tf.IndexedSlices(values, indices),
                    [remote.shards[shard] for remote in remotes],
                )


def _bytes(variable: tf.Variable) -> int:
    return int(np.prod(variable.shape)) * variable.dtype.size

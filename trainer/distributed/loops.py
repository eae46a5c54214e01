"""The functions that workers run: one inner loop, or some batches of joint training, each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from trainer.distributed.caches import Caches, RowCache, Traffic
from trainer.distributed.chunks import (
    SIGNATURE,
    ChunkReader,
    LossAndRows,
    PackedChunks,
    for_each_chunk,
)
from trainer.distributed.local_variable import LocalVariable
from trainer.distributed.rules import Gradient, UpdateRule
from trainer.distributed.servers import ParameterServers, ServerOptimizer
from trainer.frameworks.core.domain_specific import DomainDelta
from trainer.frameworks.core.moments import shared_moments
from trainer.frameworks.core.snapshot import InnerStep, OuterStep, VariableRows
from trainer.keras import tf
from trainer.optimizers.row_optimizer import RowOptimizer


class LoopResult(NamedTuple):
    """Result of a loop.

    Attributes:
        loss: Sum of the rows' losses, float32.
        rows: Number of rows that it trained on, int64.
        traffic: `Traffic.counts`.
        delta: theta_i after domain regularization: values of the dense variables, rows of the
            others, and moments.
    """

    loss: tf.Tensor
    rows: tf.Tensor
    traffic: tf.Tensor
    delta: Any = ()


class UncachedLoop:
    """Training without caches.

    Every step pulls the parameters that it reads and pushes its gradients to the servers, whose
    optimizer updates the parameters. Workers do not wait for each other.

    Args:
        servers: Servers of the model.
        optimizer: Optimizer, built for the trainable variables.
        mixed: Whether batches hold rows of several domains.

    Attributes:
        function: Function of `PackedChunks`, which a worker runs.
    """

    def __init__(
        self, servers: ParameterServers, optimizer: RowOptimizer, mixed: bool = False
    ) -> None:
        self._servers, self._reader = servers, ChunkReader(servers.model.features, mixed)
        self._trained = list(servers.model.trainable_variables)
        self._rule = UpdateRule(optimizer)
        self._optimizer = ServerOptimizer(servers, optimizer, self._trained)
        self._alive: list[Any] = []
        self.function = tf.function(self._run, autograph=False, input_signature=[SIGNATURE])

    def _run(self, packed: PackedChunks) -> LoopResult:
        traffic = Traffic()
        caches = Caches(self._servers, self._trained, traffic)
        self._alive.append(caches)

        def step(
            features: dict[str, tf.Tensor], click: tf.Tensor, factor: tf.Tensor
        ) -> tf.Tensor:
            caches.refresh()
            loss, gradients = caches.gradients(features, click)
            pairs: list[tuple[Gradient, tf.Variable]] = []
            for variable, gradient in zip(
                self._trained, self._rule.prepare(gradients), strict=True
            ):
                if gradient is not None:
                    pairs.append((caches[variable].for_variable(gradient), variable))
                    traffic.pushed(pairs[-1][0])
            self._optimizer.apply(pairs, factor)
            caches.push_state()
            return loss

        loss, rows = for_each_chunk(
            packed, lambda chunk: self._reader.for_each_batch(packed, chunk, step)
        )
        return LoopResult(loss, rows, traffic.counts.read_value())


class NegotiationLoop:
    """Domain negotiation: an inner loop in caches, and its outer step on the servers (MAMDR,
    algorithm 1 and figure 7).

    Args:
        servers: Servers of the model.
        step: Inner step of the framework, for its variables and hyper-parameters.
        outer: Outer step of the framework: its optimizer, or the rate beta of equation 3.
        keep_slots: Whether the servers keep the inner optimizer's slots; if not, each inner
            loop has its own.

    Attributes:
        function: Function of `PackedChunks`, which a worker runs.
    """

    def __init__(
        self, servers: ParameterServers, step: InnerStep, outer: OuterStep, keep_slots: bool
    ) -> None:
        self._servers, self._reader = servers, ChunkReader(servers.model.features)
        self._trained, self._rate = list(step.variables), outer.rate
        self._rule = UpdateRule(step.base_optimizer)
        self._slots = servers.slots(step.base_optimizer, self._trained, keep_slots)
        self._outer = (
            None
            if outer.optimizer is None
            else ServerOptimizer(servers, outer.optimizer, self._trained)
        )
        self._alive: list[Any] = []
        self.function = tf.function(self._run, autograph=False, input_signature=[SIGNATURE])

    def _run(self, packed: PackedChunks) -> LoopResult:
        caches = Caches(self._servers, self._trained, Traffic(), self._slots, self._rule)
        self._alive.append(caches)
        loss, rows = for_each_chunk(
            packed, lambda chunk: self._reader.for_each_batch(packed, chunk, caches.step)
        )
        self._push(caches)
        caches.push_slots()
        caches.push_state()
        return LoopResult(loss, rows, caches.traffic.counts.read_value())

    def _push(self, caches: Caches) -> None:
        """Takes the outer step: theta <- theta + beta (theta~ - theta) (equation 3), or an
        optimizer's step whose gradient is theta - theta~."""
        gradients: list[tuple[Gradient, tf.Variable]] = []
        for variable in self._trained:
            cache = caches[variable]
            difference = cache.difference()
            caches.traffic.pushed(difference)
            if self._outer is None:
                cache.add(difference, self._rate)
            elif isinstance(difference, VariableRows):
                gradient = tf.IndexedSlices(
                    -difference.values, difference.indices, variable.shape
                )
                gradients.append((gradient, variable))
            else:
                gradients.append((-difference, variable))
        if self._outer is not None:
            self._outer.apply(gradients)


class RegularizationLoop:
    """Domain regularization of one target domain (MAMDR, algorithm 2).

    theta_i comes from the chief and is returned to it; theta_S is pulled from the servers and
    not changed.

    Args:
        servers: Servers of the model.
        step: Inner step of the framework's regularization, for its variables, which are those
            that have a theta_i, and its hyper-parameters.
        keep_slots: Whether the servers keep the optimizer's slots; if not, each inner loop has
            its own.
        rate: gamma of equation 8.

    Attributes:
        function: Function of `arguments`, which a worker runs.
    """

    def __init__(
        self, servers: ParameterServers, step: InnerStep, keep_slots: bool, rate: float
    ) -> None:
        self._servers, self._reader = servers, ChunkReader(servers.model.features)
        self._rate, self._keep_slots = rate, keep_slots
        self._dense = [step.variables[place] for place in step.dense_positions]
        self._rows = [step.variables[place] for place in step.sparse_positions]
        self._trained = list(step.variables)
        self._moments = shared_moments(servers.model)
        self._rule = UpdateRule(step.base_optimizer)
        self._slots = servers.slots(step.base_optimizer, self._trained, keep_slots)
        self._alive: list[Any] = []
        dense, rows = step.signature()
        self.function = tf.function(
            self._run,
            autograph=False,
            input_signature=[
                SIGNATURE,
                tf.TensorSpec([], tf.int64),
                tf.TensorSpec([], tf.bool),
                dense,
                rows,
                [tf.TensorSpec(moment.shape, moment.dtype) for moment in self._moments],
            ],
        )

    def arguments(
        self, packed: PackedChunks, target: int, delta: DomainDelta
    ) -> tuple[Any, ...]:
        """Returns the arguments of `function`.

        Args:
            packed: Chunks of the target and its helpers.
            target: Target domain D_i.
            delta: theta_i so far.
        """
        state: tuple[list[Any], list[Any], list[Any]]
        if delta.is_set:
            state = list(delta.dense), list(delta.rows), list(delta.extra)
        else:
            state = (
                [tf.zeros(variable.shape, variable.dtype) for variable in self._dense],
                [_no_rows(variable) for variable in self._rows],
                [tf.zeros(moment.shape, moment.dtype) for moment in self._moments],
            )
        return (packed, tf.constant(target, tf.int64), tf.constant(delta.is_set), *state)

    def _run(
        self,
        packed: PackedChunks,
        target: tf.Tensor,
        has_delta: tf.Tensor,
        dense: list[tf.Tensor],
        rows: list[VariableRows],
        moments: list[tf.Tensor],
    ) -> LoopResult:
        caches = Caches(self._servers, self._trained, Traffic(), self._slots, self._rule)
        saved = _SavedMoments(self._servers, caches)
        self._alive += [caches, saved]
        self._add_delta(caches, has_delta, dense, rows, moments)

        def visit(chunk: tf.Tensor) -> LossAndRows:
            starts_loop, ends_loop, starts_helper, ends_helper = tf.unstack(
                packed.flags[chunk], num=4
            )
            domain = packed.domains[packed.segments[chunk]]
            _run_if(starts_loop, caches.take)  # line 3
            _run_if(starts_helper, lambda: saved.save(domain))
            result = self._reader.for_each_batch(packed, chunk, caches.step)  # lines 4 and 5
            _run_if(ends_helper, lambda: saved.restore(domain))
            _run_if(ends_loop, lambda: self._end_loop(caches))  # line 6
            return result

        loss, count = for_each_chunk(packed, visit)
        delta = (
            [caches[variable].difference() for variable in self._dense],
            [caches[variable].difference() for variable in self._rows],
            [caches[variable].dynamic.read_value() for variable in self._moments],
        )
        caches.push_slots()
        caches.push_state(without=self._moments, rows=tf.stack([tf.zeros_like(target), target]))
        return LoopResult(loss, count, caches.traffic.counts.read_value(), delta)

    def _add_delta(
        self,
        caches: Caches,
        has_delta: tf.Tensor,
        dense: list[tf.Tensor],
        rows: list[VariableRows],
        moments: list[tf.Tensor],
    ) -> None:
        """Theta <- theta_S + theta_i in the dynamic caches."""
        for variable, difference in zip(self._dense, dense, strict=True):
            caches[variable].dynamic.assign_add(difference)
        for variable, block in zip(self._rows, rows, strict=True):
            cache = caches[variable]
            assert isinstance(cache, RowCache)
            cache.add_delta(block)
        for variable, value in zip(self._moments, moments, strict=True):
            dynamic = caches[variable].dynamic
            dynamic.assign(tf.where(has_delta, value, dynamic.read_value()))

    def _end_loop(self, caches: Caches) -> None:
        if not self._keep_slots:
            caches.reset_slots()
        caches.move(self._rate)


class _SavedMoments:
    """Moving moments before a helper's steps, which must not change them.

    Args:
        servers: Servers of the model.
        caches: Caches of the loop.
    """

    def __init__(self, servers: ParameterServers, caches: Caches) -> None:
        self._whole = [caches[variable] for variable in shared_moments(servers.model)]
        others = [caches[variable] for variable in servers.model.non_trainable_variables]
        self._rows = [cache for cache in others if isinstance(cache, RowCache)]
        self._saved_whole = [LocalVariable(cache.static) for cache in self._whole]
        self._saved_rows = [
            LocalVariable(tf.zeros([2, *cache.shape[1:]], cache.dtype)) for cache in self._rows
        ]

    def save(self, domain: tf.Tensor) -> None:
        """Saves what steps on a domain's rows can change."""
        for saved, cache in zip(self._saved_whole, self._whole, strict=True):
            saved.assign(cache.dynamic.read_value())
        for saved, rows in zip(self._saved_rows, self._rows, strict=True):
            saved.assign(tf.gather(rows, tf.stack([0, domain])))

    def restore(self, domain: tf.Tensor) -> None:
        """Restores what `save` saved for the same domain."""
        for saved, cache in zip(self._saved_whole, self._whole, strict=True):
            cache.dynamic.assign(saved.read_value())
        for saved, rows in zip(self._saved_rows, self._rows, strict=True):
            rows.scatter_update(tf.IndexedSlices(saved.read_value(), tf.stack([0, domain])))


def _no_rows(variable: tf.Variable) -> VariableRows:
    return VariableRows(
        tf.zeros([0], tf.int64), tf.zeros([0, *variable.shape[1:]], variable.dtype)
    )


def _run_if(condition: tf.Tensor, function: Callable[[], None]) -> None:
    """Runs a function in the graph if a condition holds."""

    def run() -> tf.Tensor:
        function()
        return tf.constant(0)

    tf.cond(condition, run, lambda: tf.constant(0))


def sum_results(results: Sequence[LoopResult]) -> LoopResult:
    """Returns the sums of several loops' losses, rows and traffic."""
    return LoopResult(
        sum(result.loss for result in results),
        sum(result.rows for result in results),
        sum(result.traffic for result in results),
    )

"""The functions that workers run, each an inner loop or a stretch of training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from trainer.distributed.caches import Caches, RowCache, Traffic
from trainer.distributed.loads import SIGNATURE, Packed, Reader, each_load
from trainer.distributed.local import Local
from trainer.distributed.rules import Rule
from trainer.distributed.servers import ServerOptimizer, Servers
from trainer.frameworks.core import InnerStep, OuterStep, Rows
from trainer.frameworks.moments import shared_moments
from trainer.frameworks.specific import Difference
from trainer.keras import tf
from trainer.optimizers import RowOptimizer


class Result(NamedTuple):
    """What every loop gives.

    Attributes:
        loss: the sum of the rows' losses.
        rows: that it trained on.
        traffic: `Traffic.counts`.
        own: what a domain has of its own after domain regularization.
    """

    loss: tf.Tensor
    rows: tf.Tensor
    traffic: tf.Tensor
    own: Any = ()


class Uncached:
    """Training without caches: every step pulls what it reads, and its gradients go to the
    servers, whose optimizer moves the parameters. Workers do not wait for each other.

    Args:
        servers: of the model.
        optimizer: built for the trainable variables.
        mixed: whether batches are of several domains.
    """

    def __init__(self, servers: Servers, optimizer: RowOptimizer, mixed: bool = False):
        self._servers, self._reader = servers, Reader(servers.model.features, mixed)
        self._trained = list(servers.model.trainable_variables)
        self._rule = Rule(optimizer)
        self._optimizer = ServerOptimizer(servers, optimizer, self._trained)
        self._kept: list[Any] = []
        self.function = tf.function(self._run, autograph=False, input_signature=[SIGNATURE])

    def _run(self, packed: Packed) -> Result:
        traffic = Traffic()
        caches = Caches(self._servers, self._trained, traffic)
        self._kept.append(caches)

        def step(features, click, factor):
            caches.renew()
            loss, gradients = caches.gradients(features, click)
            pairs = []
            for variable, gradient in zip(self._trained, self._rule.prepared(gradients),
                                          strict=True):
                if gradient is not None:
                    pairs.append((caches[variable].named(gradient), variable))
                    traffic.pushed(pairs[-1][0])
            self._optimizer.apply(pairs, factor)
            caches.push_state()
            return loss
        loss, rows = each_load(packed, lambda load: self._reader.each_batch(packed, load, step))
        return Result(loss, rows, traffic.counts.read_value())


class Negotiation:
    """The inner loop of domain negotiation in caches, and its outer step on the servers
    (MAMDR, algorithm 1 and figure 7).

    Args:
        servers: of the model.
        step: of the framework: its variables, and its optimizer's hyper-parameters.
        outer: of the framework: the outer optimizer, or the rate beta of equation 3.
        keep_slots: whether the inner optimizer's slots live on the servers, or in each loop.
    """

    def __init__(self, servers: Servers, step: InnerStep, outer: OuterStep, keep_slots: bool):
        self._servers, self._reader = servers, Reader(servers.model.features)
        self._trained, self._rate = list(step.variables), outer.rate
        self._rule = Rule(step.slot_owner)
        self._slots = servers.slots(step.slot_owner, self._trained, keep_slots)
        self._outer = outer.optimizer and ServerOptimizer(servers, outer.optimizer,
                                                          self._trained)
        self._kept: list[Any] = []
        self.function = tf.function(self._run, autograph=False, input_signature=[SIGNATURE])

    def _run(self, packed: Packed) -> Result:
        caches = Caches(self._servers, self._trained, Traffic(), self._slots, self._rule)
        self._kept.append(caches)
        loss, rows = each_load(
            packed, lambda load: self._reader.each_batch(packed, load, caches.step))
        self._push(caches)
        caches.push_slots()
        caches.push_state()
        return Result(loss, rows, caches.traffic.counts.read_value())

    def _push(self, caches: Caches) -> None:
        """theta <- theta + beta (theta~ - theta), equation 3, or an optimizer's step with
        theta - theta~ for the gradient."""
        gradients = []
        for variable in self._trained:
            cache = caches[variable]
            difference = cache.difference()
            caches.traffic.pushed(difference)
            if self._outer is None:
                cache.add(difference, self._rate)
            elif isinstance(difference, Rows):
                gradients.append((tf.IndexedSlices(
                    -difference.values, difference.numbers, variable.shape), variable))
            else:
                gradients.append((-difference, variable))
        if self._outer is not None:
            self._outer.apply(gradients)


class Regularization:
    """MAMDR's algorithm 2 for one target domain. theta_i comes from the chief and goes back to
    it; theta_S is read from the servers and stays.

    Args:
        servers: of the model.
        step: of the framework's regularization, for the variables that have a theta_i.
        keep_slots: whether the optimizer's slots live on the servers, or in each inner loop.
        rate: gamma of equation 8.
    """

    def __init__(self, servers: Servers, step: InnerStep, keep_slots: bool, rate: float):
        self._servers, self._reader = servers, Reader(servers.model.features)
        self._rate, self._keep_slots = rate, keep_slots
        self._dense = [step.variables[place] for place in step.dense_places]
        self._rows = [step.variables[place] for place in step.row_places]
        self._trained = list(step.variables)
        self._extra = shared_moments(servers.model)
        self._rule = Rule(step.slot_owner)
        self._slots = servers.slots(step.slot_owner, self._trained, keep_slots)
        self._kept: list[Any] = []
        dense, rows = step.signature()
        self.function = tf.function(self._run, autograph=False, input_signature=[
            SIGNATURE, tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.bool), dense, rows,
            [tf.TensorSpec(each.shape, each.dtype) for each in self._extra]])

    def arguments(self, packed: Packed, target: int, own: Difference) -> tuple[Any, ...]:
        """Of `function`.

        Args:
            packed: the turns.
            target: D_i.
            own: what it has so far.
        """
        def none(variable):
            return Rows(tf.zeros([0], tf.int64), tf.zeros([0, *variable.shape[1:]],
                                                          variable.dtype))
        if own.there:
            parts = list(own.dense), list(own.rows), list(own.extra)
        else:
            parts = ([tf.zeros(each.shape, each.dtype) for each in self._dense],
                     [none(each) for each in self._rows],
                     [tf.zeros(each.shape, each.dtype) for each in self._extra])
        return (packed, tf.constant(target, tf.int64), tf.constant(own.there), *parts)

    def _run(self, packed: Packed, target: tf.Tensor, there: tf.Tensor,
             dense: list[tf.Tensor], rows: list[Rows], extra: list[tf.Tensor]) -> Result:
        caches = Caches(self._servers, self._trained, Traffic(), self._slots, self._rule)
        moments = _Moments(self._servers, caches)
        self._kept += [caches, moments]
        self._enter(caches, there, dense, rows, extra)

        def visit(load):
            begins, ends, helps, helped = tf.unstack(packed.flags[load], num=4)
            domain = packed.domains[packed.stretches[load]]
            _when(begins, caches.take)  # line 3
            _when(helps, lambda: moments.keep(domain))
            done = self._reader.each_batch(packed, load, caches.step)  # lines 4 and 5
            _when(helped, lambda: moments.put_back(domain))

            def end():
                if not self._keep_slots:
                    caches.reset_slots()
                caches.move(self._rate)  # line 6
            _when(ends, end)
            return done
        loss, count = each_load(packed, visit)
        own = ([caches[variable].difference() for variable in self._dense],
               [caches[variable].difference() for variable in self._rows],
               [caches[variable].dynamic.read_value() for variable in self._extra])
        caches.push_slots()
        caches.push_state(without=self._extra, rows=tf.stack([tf.zeros_like(target), target]))
        return Result(loss, count, caches.traffic.counts.read_value(), own)

    def _enter(self, caches, there, dense, rows, extra):
        """Theta <- theta_S + theta_i in the dynamic caches."""
        for variable, difference in zip(self._dense, dense, strict=True):
            caches[variable].dynamic.assign_add(difference)
        for variable, block in zip(self._rows, rows, strict=True):
            caches[variable].enter(block)
        for variable, value in zip(self._extra, extra, strict=True):
            cache = caches[variable].dynamic
            cache.assign(tf.where(there, value, cache.read_value()))


class _Moments:
    """Moving moments as they were before a helper's steps, which are to leave none."""

    def __init__(self, servers: Servers, caches: Caches):
        self._whole = [caches[variable] for variable in shared_moments(servers.model)]
        self._rows = [caches[variable] for variable in servers.model.non_trainable_variables
                      if isinstance(caches[variable], RowCache)]
        self._kept = [Local(cache.static) for cache in self._whole] + [
            Local(tf.zeros([2, *cache.shape[1:]], cache.dtype)) for cache in self._rows]

    def keep(self, domain: tf.Tensor) -> None:
        """Remembers what steps on a domain's rows can move."""
        for kept, cache in zip(self._kept, self._whole, strict=False):
            kept.assign(cache.dynamic.read_value())
        for kept, cache in zip(self._kept[len(self._whole):], self._rows, strict=True):
            kept.assign(tf.gather(cache, tf.stack([0, domain])))

    def put_back(self, domain: tf.Tensor) -> None:
        """Makes it what it was."""
        for kept, cache in zip(self._kept, self._whole, strict=False):
            cache.dynamic.assign(kept.read_value())
        for kept, cache in zip(self._kept[len(self._whole):], self._rows, strict=True):
            cache.scatter_update(tf.IndexedSlices(kept.read_value(), tf.stack([0, domain])))


def _when(condition: tf.Tensor, then: Any) -> None:
    def run():
        then()
        return tf.constant(0)
    tf.cond(condition, run, lambda: tf.constant(0))


def totals(results: Sequence[Result]) -> Result:
    """The sums of several loops' numbers."""
    return Result(*(sum(parts) for parts in list(zip(*results, strict=True))[:3]))

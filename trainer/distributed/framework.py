"""Frameworks whose inner loops run on the workers of a cluster."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from beam_jobs.errors import UserError
from trainer.config import TrainConfig
from trainer.distributed.cluster import (
    Alone,
    Call,
    Cluster,
    serve,
    task_of_environment,
    told,
)
from trainer.distributed.loads import Files, Load, Packed
from trainer.distributed.loops import Negotiation, Regularization, Result, Uncached, totals
from trainer.distributed.plans import Planner
from trainer.distributed.servers import Servers
from trainer.frameworks.base import Framework, Progress
from trainer.frameworks.core import Rows
from trainer.frameworks.moments import domain_led
from trainer.frameworks.order import domain_order, helper_domains
from trainer.keras import tf
from trainer.schedule import Schedule, rate_factor

FRAMEWORKS = ('joint', 'alternate', 'domain_negotiation', 'domain_regularization', 'mamdr')
_BATCHES = 64  # of joint training, that a worker takes at a time
_TARGETS = 4  # of domain regularization, for each worker between two points of progress

logger = logging.getLogger(__name__)


def join_cluster(config: TrainConfig) -> Cluster | None:
    """The cluster of which this process is the chief; None for training in one process.

    A worker or a parameter server serves here until it is ended.

    Raises:
        UserError: a TF_CONFIG that names no such cluster, or a run that no cluster trains.
    """
    task = task_of_environment()
    if task is None:
        return None
    if task.type != 'chief':
        serve(task)
    check_distributed(config)
    return Cluster(task)


def check_distributed(config: TrainConfig) -> None:
    """Refuses what does not train on parameter servers.

    Raises:
        UserError: what it is.
    """
    if config.framework not in FRAMEWORKS:
        raise UserError(
            f'The framework {config.framework} does not train on parameter servers, only '
            f'{", ".join(FRAMEWORKS)} do: choose one of them, or train in one process.')
    for name, wanted in (('mixed_precision', config.mixed_precision), ('xla', config.xla),
                         ('stream_rows', config.stream_rows)):
        if wanted:
            raise UserError(f'train.{name} is for training in one process: leave it out to '
                            'train on parameter servers.')


class Distributed:
    """A framework whose epochs are trained by a cluster.

    All else, validation, checkpoints and the export, is the framework's own, on the chief's
    model, into which `collect` brings what the servers hold.

    * `joint` and `alternate` train without caches: workers take turns of batches, and their
      steps move the servers' parameters as they come.
    * `domain_negotiation` runs an inner loop on each worker, over a share of every domain's
      rows; each sends an outer step of rate beta. With one worker that is algorithm 1 as one
      process runs it.
    * `mamdr`, and `domain_regularization` with beta 1, then run algorithm 2, a target domain
      at a time and worker. theta_i stays with the chief and travels with its loop.

    A position is, for `joint` and `alternate`, a loop; else negotiation, and then a domain.

    Args:
        framework: in one process; its model, optimizers and theta_i are those that are saved.
        cluster: which trains.

    Attributes:
        traffic: rows pulled and pushed and bytes pulled and pushed in the last epoch.
    """

    def __init__(self, framework: Framework, cluster: Cluster | Alone):
        self._framework, self._cluster = framework, cluster
        config, model = framework.config, framework.model
        self._files = Files(framework.examples)
        self._planner = Planner(framework.examples, config.batch_size, config.seed)
        self._servers = Servers(model, cluster.strategy, cluster.servers)
        self._loaded = False
        self.traffic = np.zeros(4, np.int64)
        self._regularization: Regularization | None = None
        if config.framework in ('joint', 'alternate'):
            self._kind = 'domain' if config.framework == 'alternate' else (
                config.batches or model.batches)
            self._loop = Uncached(self._servers, framework.optimizer, self._kind == 'mixed')
            return
        options = framework.options
        keep = options.slots == 'run'
        self._loop = Negotiation(self._servers, framework.step, framework.outer, keep)
        if hasattr(framework, 'regularization'):
            self._regularization = Regularization(
                self._servers, framework.regularization.step, keep,
                options.regularization_rate)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._framework, name)

    def learning_rate(self) -> float:
        """As of `Framework.learning_rate`, where no step of the chief's optimizer sets it."""
        rate = self._framework.optimizer._learning_rate
        return float(rate(0) if isinstance(rate, Schedule) else rate)

    def collect(self) -> None:
        """Brings the servers' values into the model and the optimizers."""
        with told():
            self._servers.fetch()

    def epoch(self, number: int, start: int = 0) -> Iterator[Progress]:
        """As of `Framework.epoch`."""
        if not self._loaded:
            with told():
                self._servers.load()
            self._loaded = True
        self.traffic = np.zeros(4, np.int64)
        if self._framework.config.framework == 'joint':
            yield from self._joint(number, start)
        else:
            yield from self._negotiate(number, start)
        self.collect()
        logger.info('epoch %d: %d rows pulled and %d pushed, %.1f and %.1f MB', number + 1,
                    *self.traffic[:2], *(self.traffic[2:] / 1e6))

    def _joint(self, number: int, start: int) -> Iterator[Progress]:
        examples, size = self._framework.examples, self._framework.config.batch_size
        parts = max(self._cluster.workers, -(-len(examples) // (_BATCHES * size)))
        for first in range(start, parts, self._cluster.workers):
            last = min(first + self._cluster.workers, parts)
            yield self._train(last, [self._planner.in_proportion(
                number, self._kind, part, parts) for part in range(first, last)],
                number, first / parts, last / parts)

    def _negotiate(self, number: int, start: int) -> Iterator[Progress]:
        if start == 0:
            workers = self._cluster.workers
            progress = self._train(1, [self._planner.passes(number, part, workers)
                                       for part in range(workers)], number)
            self._measure(number)
            yield progress
        if self._regularization is not None:
            yield from self._regularize(number, max(0, start - 1))

    def _measure(self, number: int) -> None:
        """Measures the moments that all domains share, with the parameters as they are."""
        moments = self._framework.moments
        if not moments.needed:
            return
        self.collect()
        moments.measure(number)
        with told():
            self._servers.load(self._framework.model.non_trainable_variables)

    def _train(self, position: int, loads: Sequence[list[Load]], number: int,
               first: float = 0.0, last: float = 1.0) -> Progress:
        calls = [(self._loop.function, (self._packed(number, each, first, last),))
                 for each in loads if each]
        return self._progress(position, self._cluster.run(calls), sum(
            len(load.batches) for each in loads for load in each))

    def _packed(self, number: int, loads: Sequence[Load], first: float = 0.0,
                last: float = 1.0, by_rows: bool = True) -> Packed:
        """A loop, with the factors of its learning rate: workers know no schedule.

        Args:
            number: the epoch's.
            loads: of the loop.
            first: the share of the epoch at which it begins.
            last: the share at which it ends.
            by_rows: whether a batch is so much of the loop as it has rows, else all alike.
        """
        sizes = np.array([len(batch) if by_rows else 1
                          for load in loads for batch in load.batches])
        share = first + (last - first) * (np.cumsum(sizes) - sizes) / sizes.sum()
        config = self._framework.config
        done = tf.constant((number + share) / config.passes, tf.float32)
        return self._files.pack(loads, rate_factor(config.schedule, config.warmup, done))

    def _regularize(self, number: int, start: int) -> Iterator[Progress]:
        framework, config = self._framework, self._framework.config
        regularization = framework.regularization
        order = domain_order(framework.examples, config.seed, number)
        turns = self._planner.turns(
            number, order,
            {target: helper_domains(framework.examples, target, regularization.helpers,
                                    config.seed, number) or [None] for target in order},
            {target: regularization.steps(target) for target in order})
        for _ in itertools.islice(turns, start):
            pass
        at_once = _TARGETS * self._cluster.workers
        for first in range(start, len(order), at_once):
            targets = order[first:first + at_once]
            done = self._cluster.run([
                self._call(number, target, of_target) for target, of_target
                in zip(targets, itertools.islice(turns, len(targets)), strict=True)])
            for target, result in zip(targets, done, strict=True):
                self._keep(target, result.own)
            yield self._progress(1 + first + len(targets), done, len(targets))

    def _call(self, number: int, target: int, loads: list[Load]) -> Call:
        own = self._framework.specific.differences[target]
        return self._regularization.function, self._regularization.arguments(
            self._packed(number, loads, by_rows=False), target, own)

    def _keep(self, target: int, own: Any) -> None:
        """theta_i as algorithm 2 left it; of variables with a row for each domain its own."""
        specific, led = self._framework.specific, domain_led(self._framework.model)
        mine = specific.differences[target]
        mine.dense, rows, mine.extra = tf.nest.map_structure(tf.constant, list(own))
        mine.rows, mine.slots, mine.there = [], [], True
        for place, (numbers, values) in zip(specific.step.row_places, rows, strict=True):
            if id(specific.step.variables[place]) in led:
                here = numbers == target
                numbers, values = tf.boolean_mask(numbers, here), tf.boolean_mask(values, here)
            mine.rows.append(Rows(numbers, values))

    def _progress(self, position: int, results: Sequence[Result], steps: int) -> Progress:
        total = totals(results)
        self.traffic = self.traffic + np.asarray(total.traffic)
        rows = int(total.rows)
        return Progress(position, tf.constant(float(total.loss) / rows), rows, steps)

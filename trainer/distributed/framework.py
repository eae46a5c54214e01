"""Training of a framework's epochs by a cluster."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from mdctr.errors import UserError
from trainer.config import TrainConfig
from trainer.data.batching import Batch
from trainer.data.examples import Examples
from trainer.distributed.chunks import Chunk, ChunkPacker, PackedChunks
from trainer.distributed.cluster import Call, Cluster, LocalCluster, user_errors
from trainer.distributed.loops import (
    LoopResult,
    NegotiationLoop,
    RegularizationLoop,
    UncachedLoop,
    sum_results,
)
from trainer.distributed.plans import Planner
from trainer.distributed.servers import ParameterServers
from trainer.distributed.serving import serve
from trainer.distributed.tf_config import task_of_environment
from trainer.frameworks.alternate import Alternate
from trainer.frameworks.core.base import Framework, StepReport
from trainer.frameworks.core.domain_specific_model import DomainSpecificModel
from trainer.frameworks.core.inner_loop_framework import InnerLoopFramework
from trainer.frameworks.core.moments import SharedMoments, per_domain_variable_ids
from trainer.frameworks.core.order import domain_order, helper_domains
from trainer.frameworks.core.snapshot import VariableRows
from trainer.frameworks.domain_regularization import DomainRegularization
from trainer.keras import tf
from trainer.loop.step import TrainStep
from trainer.models.base import CTRModel
from trainer.optimizers.schedule import ProgressSchedule, schedule_factor

FRAMEWORKS = ('joint', 'alternate', 'domain_negotiation', 'domain_regularization', 'mamdr')

_BATCHES = 64  # batches of a loop of joint training
_TARGETS = 4  # targets of domain regularization per worker, between two reports

logger = logging.getLogger(__name__)


def join_cluster(config: TrainConfig) -> Cluster | None:
    """Joins the cluster that TF_CONFIG names, if any.

    A worker or a parameter server serves and does not return.

    Args:
        config: Configuration of the run.

    Returns:
        The cluster of which this process is the chief; None for training in one process.

    Raises:
        UserError: TF_CONFIG is malformed, the port of this process is taken, or the
            configuration does not support distributed training.
    """
    task = task_of_environment()
    if task is None:
        return None
    if task.type != 'chief':
        serve(task)
    check_distributed(config)
    return Cluster(task)


def check_distributed(config: TrainConfig) -> None:
    """Checks that a configuration supports distributed training.

    Raises:
        UserError: It does not.
    """
    if config.framework not in FRAMEWORKS:
        raise UserError(
            f'The framework {config.framework} does not train on parameter servers: choose one '
            f'of {", ".join(FRAMEWORKS)}, or train in one process.'
        )
    for name in ('mixed_precision', 'xla', 'streaming_buffer_size'):
        if getattr(config, name):
            raise UserError(
                f'train.{name} is for training in one process: remove it to train on parameter '
                'servers.'
            )


class DistributedFramework(Framework):
    """A framework whose epochs are trained by a cluster.

    Validation, checkpoints and the export are those of the framework in one process, on the
    chief's model, to which `collect` copies the servers' values.

    * `joint` and `alternate` train without caches: workers take turns of batches, whose steps
      update the servers' parameters without waiting for each other.
    * `domain_negotiation` runs one inner loop per worker, on a share of each domain's rows, and
      each ends with an outer step of rate beta. One worker computes algorithm 1 like one
      process.
    * `mamdr`, and `domain_regularization` with beta 1, then run algorithm 2, one target domain
      per loop. The chief keeps theta_i and sends it with the loop.

    A position in an epoch is a loop for `joint` and `alternate`; otherwise the first one is
    negotiation, followed by one per target domain.

    Args:
        framework: Framework in one process, with the model, optimizers and theta_i to train.
        cluster: Cluster that trains.

    Attributes:
        traffic: Rows pulled, rows pushed, bytes pulled and bytes pushed in the last epoch.
    """

    def __init__(self, framework: Framework, cluster: Cluster | LocalCluster) -> None:
        self._framework, self._cluster = framework, cluster
        self.config, self.options = framework.config, framework.options
        self.model, self.examples = framework.model, framework.examples
        self.progress, self.optimizer = framework.progress, framework.optimizer
        self.step = framework.step
        self.guard, self.domain_specific = framework.guard, framework.domain_specific
        config, model = framework.config, framework.model
        self._packer = ChunkPacker(framework.examples)
        self._planner = Planner(framework.examples, config.batch_size, config.seed)
        self._servers = ParameterServers(model, cluster.strategy, cluster.servers)
        self._loaded = False
        self.traffic = np.zeros(4, np.int64)
        self._loop: UncachedLoop | NegotiationLoop
        self._regularization: RegularizationLoop | None = None
        if not isinstance(framework, InnerLoopFramework):
            self._batching: Literal['domain', 'mixed'] = (
                'domain'
                if isinstance(framework, Alternate)
                else (config.batching or model.batches)
            )
            mixed = self._batching == 'mixed'
            self._loop = UncachedLoop(self._servers, framework.optimizer, mixed)
            return
        keep = framework.options.slot_lifetime == 'run'
        self._loop = NegotiationLoop(self._servers, framework.step, framework.outer, keep)
        if isinstance(framework, DomainRegularization):
            self._regularization = RegularizationLoop(
                self._servers,
                framework.regularization.step,
                keep,
                framework.options.regularization_learning_rate,
            )

    def prepare(self) -> None:
        """Nothing: the framework in one process is prepared."""

    def train_steps(self) -> list[TrainStep]:
        """Returns the steps of the framework, as `Framework.train_steps`."""
        return self._framework.train_steps()

    def update_progress(self, number: int, rows: int) -> None:
        """Updates the framework's progress, as `Framework.update_progress`."""
        self._framework.update_progress(number, rows)

    def finish(self, validation: Examples) -> bool:
        """Finishes the framework on the chief's model, as `Framework.finish`."""
        return self._framework.finish(validation)

    def weights(self) -> dict[str, Any]:
        """Returns the framework's weights, as `Framework.weights`."""
        return self._framework.weights()

    def state(self) -> dict[str, Any]:
        """Returns the framework's state, as `Framework.state`."""
        return self._framework.state()

    def predict(self, batch: Batch) -> tf.Tensor:
        """Returns the logits of the chief's model, as `Framework.predict`."""
        return self._framework.predict(batch)

    def domain_embeddings(self) -> dict[str, np.ndarray]:
        """Returns the domain embeddings, as `Framework.domain_embeddings`."""
        return self._framework.domain_embeddings()

    def serving_model(self) -> CTRModel | DomainSpecificModel:
        """Returns the model to export, as `Framework.serving_model`."""
        return self._framework.serving_model()

    def learning_rate(self) -> float:
        """Returns the learning rate for the logs, as `Framework.learning_rate`.

        A schedule's value is computed here, because the chief's optimizer takes no steps.
        """
        rate = self._framework.optimizer._learning_rate
        return float(rate(0) if isinstance(rate, ProgressSchedule) else rate)

    def collect(self) -> None:
        """Copies the servers' values to the model and the optimizers."""
        with user_errors():
            self._servers.fetch()

    def epoch(self, number: int, start: int = 0) -> Iterator[StepReport]:
        """Trains for an epoch, as `Framework.epoch`."""
        if not self._loaded:
            with user_errors():
                self._servers.load()
            self._loaded = True
        self.traffic = np.zeros(4, np.int64)
        if isinstance(self._framework, Alternate):
            yield from self._alternate(self._framework, number, start)
        else:
            yield from self._joint(number, start)
        self.collect()
        logger.info(
            'epoch %d: %d rows pulled and %d pushed, %.1f and %.1f MB',
            number + 1,
            *self.traffic[:2],
            *(self.traffic[2:] / 1e6),
        )

    def _joint(self, number: int, start: int) -> Iterator[StepReport]:
        examples, size = self._framework.examples, self._framework.config.batch_size
        workers = self._cluster.workers
        parts = max(workers, -(-len(examples) // (_BATCHES * size)))
        for first in range(start, parts, workers):
            last = min(first + workers, parts)
            loops = [
                self._planner.shuffled_pass(number, self._batching, part, parts)
                for part in range(first, last)
            ]
            yield self._train(last, loops, number, first / parts, last / parts)

    def _alternate(self, framework: Alternate, number: int, start: int) -> Iterator[StepReport]:
        """Alternate training or domain negotiation, and then domain regularization, if any."""
        if start == 0:
            workers = self._cluster.workers
            loops = [
                self._planner.domain_passes(number, part, workers) for part in range(workers)
            ]
            report = self._train(1, loops, number)
            self._measure(framework.moments, number)
            yield report
        if isinstance(framework, DomainRegularization):
            yield from self._regularize(framework, number, max(0, start - 1))

    def _measure(self, moments: SharedMoments, number: int) -> None:
        """Measures the moments that all domains share, with the current parameters."""
        if not moments.needed:
            return
        self.collect()
        moments.measure(number)
        with user_errors():
            self._servers.load(self._framework.model.non_trainable_variables)

    def _train(
        self,
        position: int,
        loops: Sequence[list[Chunk]],
        number: int,
        first: float = 0.0,
        last: float = 1.0,
    ) -> StepReport:
        """Runs loops on the workers.

        Args:
            position: Position in the epoch after them.
            loops: Chunks of each loop; a loop without chunks is skipped.
            number: Number of the epoch.
            first: Share of the epoch before them.
            last: Share of the epoch at their end.
        """
        calls = [
            (self._loop.function, (self._pack(number, chunks, first, last),))
            for chunks in loops
            if chunks
        ]
        steps = sum(len(chunk.batches) for chunks in loops for chunk in chunks)
        return self._report(position, self._cluster.run(calls), steps)

    def _pack(
        self,
        number: int,
        chunks: Sequence[Chunk],
        first: float = 0.0,
        last: float = 1.0,
        by_rows: bool = True,
    ) -> PackedChunks:
        """Packs a loop with its learning-rate factors, since workers do not know the schedule.

        Args:
            number: Number of the epoch.
            chunks: Chunks of the loop.
            first: Share of the epoch before the loop.
            last: Share of the epoch at its end.
            by_rows: Whether the progress within the loop is counted in rows; if not, in
                batches.
        """
        sizes = np.array(
            [len(batch) if by_rows else 1 for chunk in chunks for batch in chunk.batches]
        )
        share = first + (last - first) * (np.cumsum(sizes) - sizes) / sizes.sum()
        config = self._framework.config
        progress = tf.constant((number + share) / config.passes, tf.float32)
        return self._packer.pack(
            chunks, schedule_factor(config.lr_schedule, config.warmup_ratio, progress)
        )

    def _regularize(
        self, framework: DomainRegularization, number: int, start: int
    ) -> Iterator[StepReport]:
        seed, examples = framework.config.seed, framework.examples
        regularization = framework.regularization
        order = domain_order(examples, seed, number)
        helpers: dict[int, Sequence[int | None]] = {
            target: helper_domains(examples, target, regularization.num_helpers, seed, number)
            or [None]
            for target in order
        }
        steps = {target: regularization.steps(target) for target in order}
        turns = self._planner.regularization_turns(number, order, helpers, steps)
        for _ in itertools.islice(turns, start):
            pass
        at_once = _TARGETS * self._cluster.workers
        for first in range(start, len(order), at_once):
            targets = order[first : first + at_once]
            chunks = itertools.islice(turns, len(targets))
            calls = [
                self._regularization_call(number, target, of_target)
                for target, of_target in zip(targets, chunks, strict=True)
            ]
            results = self._cluster.run(calls)
            for target, result in zip(targets, results, strict=True):
                self._keep_delta(target, result.delta)
            yield self._report(1 + first + len(targets), results, len(targets))

    def _regularization_call(self, number: int, target: int, chunks: list[Chunk]) -> Call:
        loop, specific = self._regularization, self._framework.domain_specific
        assert loop is not None and specific is not None
        packed = self._pack(number, chunks, by_rows=False)
        return loop.function, loop.arguments(packed, target, specific.deltas[target])

    def _keep_delta(self, target: int, result: Any) -> None:
        """Keeps theta_i; of a variable with a row per domain, only the target's own row."""
        specific = self._framework.domain_specific
        assert specific is not None
        per_domain = per_domain_variable_ids(self._framework.model)
        delta = specific.deltas[target]
        delta.dense, rows, delta.extra = tf.nest.map_structure(tf.constant, list(result))
        delta.rows, delta.slots, delta.is_set = [], [], True
        for position, (indices, values) in zip(
            specific.step.sparse_positions, rows, strict=True
        ):
            if id(specific.step.variables[position]) in per_domain:
                own = indices == target
                indices, values = tf.boolean_mask(indices, own), tf.boolean_mask(values, own)
            delta.rows.append(VariableRows(indices, values))

    def _report(self, position: int, results: Sequence[LoopResult], steps: int) -> StepReport:
        total = sum_results(results)
        self.traffic = self.traffic + np.asarray(total.traffic)
        rows = int(total.rows)
        return StepReport(position, tf.constant(float(total.loss) / rows), rows, steps)

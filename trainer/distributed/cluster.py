"""The processes that train together, as TF_CONFIG names them."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from beam_jobs.errors import UserError
from trainer.keras import tf

_THREADS = 4  # that a server needs at the least, so that none waits for another

# In TensorFlow's words, what is wrong with a file of the dataset.
_UNREADABLE = re.compile(r'[^\s:]+; No such file|[^\s:]+; Permission denied|corrupted record|'
                         r'truncated record|Could not parse example|Feature: \w+')

logger = logging.getLogger(__name__)

Call = tuple[Callable[..., Any], tuple[Any, ...]]


@dataclass(frozen=True)
class Task:
    """What this process is.

    Attributes:
        type: `chief`, `worker` or `ps`.
        index: among those of its type.
        cluster: the addresses of all processes, by type.
    """

    type: str
    index: int
    cluster: dict[str, list[str]]


def task_of_environment() -> Task | None:
    """What TF_CONFIG says this process is; None for training in one process.

    The variable has the form that TensorFlow gave it, which Kubeflow's training operator
    fills in: `cluster`, the addresses by type, and `task`, the type and index of this process.
    A cluster of one process is none.

    Raises:
        UserError: it is no such JSON, or names processes that do not train together.
    """
    text = os.environ.get('TF_CONFIG')
    if not text:
        return None
    try:
        config = json.loads(text)
        cluster = {str(name): [str(address) for address in addresses] for name, addresses
                   in config.get('cluster', {}).items() if addresses}
        if sum(map(len, cluster.values())) < 2:
            return None
        task = Task(str(config['task']['type']), int(config['task']['index']), cluster)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError('The environment variable TF_CONFIG is no JSON of the form {"cluster": '
                        '{TYPE: [ADDRESS, ...]}, "task": {"type": TYPE, "index": N}}.'
                        ) from None
    if set(cluster) != {'chief', 'worker', 'ps'} or len(cluster['chief']) != 1:
        raise UserError(
            'Training on several machines needs one chief, which also evaluates, and workers '
            f'and parameter servers (ps), and TF_CONFIG has {_listed(cluster)}.')
    if task.type not in cluster or not 0 <= task.index < len(cluster[task.type]):
        raise UserError(f'TF_CONFIG says that this process is {task.type} {task.index}, which '
                        'its cluster has not.')
    return task


def serve(task: Task) -> NoReturn:
    """Runs a worker or a parameter server until the process is ended."""
    _hurry_failures()
    logger.info('Serving as %s %d.', task.type, task.index)
    config = tf.compat.v1.ConfigProto(
        inter_op_parallelism_threads=max(_THREADS, os.cpu_count() or 1))
    server = tf.distribute.Server(
        tf.train.ClusterSpec(task.cluster), job_name=task.type, task_index=task.index,
        protocol='grpc', config=config)
    server.join()
    raise SystemExit(0)


class Alone:
    """Runs the loops in this process, and has the servers' variables here."""

    strategy = None

    def __init__(self, workers: int = 1, servers: int = 1):
        self.workers, self.servers = workers, servers

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """The results of functions with their arguments."""
        with told():
            return [function(*arguments) for function, arguments in calls]


class Cluster:
    """The workers and parameter servers, seen from the chief; waits until all are there.

    A worker that is lost does its part no more: what it was at is run anew by another one, or
    by itself when it is back.

    Args:
        task: of this process, the chief.

    Attributes:
        workers: how many there are.
        servers: how many parameter servers.
        strategy: of TensorFlow.
    """

    def __init__(self, task: Task):
        _hurry_failures()
        self.workers, self.servers = len(task.cluster['worker']), len(task.cluster['ps'])
        logger.info('Waiting for %d workers and %d parameter servers.', self.workers,
                    self.servers)
        self.strategy = tf.distribute.ParameterServerStrategy(
            tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec(task.cluster), task_type=task.type, task_id=task.index,
                rpc_layer='grpc'))
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(self.strategy)
        # Its destructor would wait for a worker that is lost, and the process never end.
        self._coordinator._cluster.stop = lambda: None

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Runs functions on the workers, each on whichever is free; their results.

        Args:
            calls: functions with their arguments.

        Raises:
            UserError: a parameter server is lost, or the dataset cannot be read.
        """
        with told():
            results = [self._coordinator.schedule(function, args=arguments)
                       for function, arguments in calls]
            self._coordinator.join()
            return [result.fetch() for result in results]


@contextmanager
def told() -> Iterator[None]:
    """Tells in one sentence what the processes of a cluster can do nothing about."""
    try:
        yield
    except (tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.DataLossError,
            tf.errors.InvalidArgumentError) as error:
        found = _UNREADABLE.search(str(error))
        if not found:
            raise
        raise UserError(f'A worker cannot read the dataset ({found[0]}): it has to be whole, '
                        'and at the same path on all machines.') from error
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise UserError('A parameter server is lost, and what it held: start the chief again, '
                        'and it goes on from its last checkpoint.') from error


def _hurry_failures() -> None:
    # Otherwise calls to a process that is gone wait for gRPC's patience to end.
    os.environ.setdefault('GRPC_FAIL_FAST', 'use_caller')


def _listed(cluster: dict[str, list[str]]) -> str:
    return ', '.join(f'{len(addresses)} {name}' for name, addresses in cluster.items())

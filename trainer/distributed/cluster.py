"""The workers and parameter servers of a cluster, as its chief uses them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mdctr.errors import UserError
from trainer.distributed.listening import (
    fail_fast,
    reserved_port,
    restrict_to_address,
    wait_until_listening,
)
from trainer.distributed.reading import UNREADABLE
from trainer.distributed.tf_config import Task
from trainer.keras import tf

# How TensorFlow's messages name what is wrong with a file of the dataset.
_UNREADABLE = re.compile(UNREADABLE + '(.*)')

Call = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function and its arguments."""


class LocalCluster:
    """Stand-in for a cluster: runs the loops in this process, and keeps the variables here.

    Args:
        workers: Number of workers.
        servers: Number of parameter servers.
    """

    strategy = None

    def __init__(self, workers: int = 1, servers: int = 1) -> None:
        self.workers, self.servers = workers, servers

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Runs functions one after another; returns their results."""
        with user_errors():
            return [function(*arguments) for function, arguments in calls]


class Cluster:
    """The workers and parameter servers, seen from the chief.

    The constructor waits until all of them listen. If a worker is lost, another one repeats its
    current loop, or the worker itself does after its restart.

    Args:
        task: Task of this process, the chief.

    Attributes:
        workers: Number of workers.
        servers: Number of parameter servers.
        strategy: TensorFlow's distribution strategy.

    Raises:
        UserError: The port of the chief is taken.
    """

    def __init__(self, task: Task) -> None:
        fail_fast()
        self.workers, self.servers = len(task.cluster['worker']), len(task.cluster['ps'])
        with reserved_port(task):
            # TensorFlow would wait in C++, where Python cannot handle signals.
            wait_until_listening(
                {
                    f'{name} {index} ({address})': address
                    for name in ('worker', 'ps')
                    for index, address in enumerate(task.cluster[name])
                }
            )
        self.strategy = tf.distribute.ParameterServerStrategy(
            tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec(task.cluster),
                task_type=task.type,
                task_id=task.index,
                rpc_layer='grpc',
            )
        )
        restrict_to_address(task)
        self._coordinator = tf.distribute.coordinator.ClusterCoordinator(self.strategy)
        # Its destructor waits for lost workers, and the process would never end.
        self._coordinator._cluster.stop = lambda: None

    def run(self, calls: Sequence[Call]) -> list[Any]:
        """Runs functions on the workers, each on whichever is free.

        Args:
            calls: Functions with their arguments.

        Returns:
            Their results, in the order of `calls`.

        Raises:
            UserError: A parameter server is lost, or the dataset cannot be read.
        """
        with user_errors():
            results = [
                self._coordinator.schedule(function, args=arguments)
                for function, arguments in calls
            ]
            self._coordinator.join()
            return [result.fetch() for result in results]


@contextmanager
def user_errors() -> Iterator[None]:
    """Context that converts errors with a cause outside of the program to a `UserError`."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        cause = _UNREADABLE.search(str(error))
        if not cause:
            raise
        raise UserError(
            f'A worker cannot read the dataset ({cause[1]}): it must be complete, and at the '
            'same path on all machines.'
        ) from error
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise UserError(
            'A parameter server is lost, and with it the parameters that it held: restart the '
            'chief to resume from its last checkpoint.'
        ) from error

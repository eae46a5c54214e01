"""The TF_CONFIG environment variable: the processes of a cluster, and which one this is."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import Any

from mdctr.errors import UserError

TYPES = ('chief', 'worker', 'ps')

_FORM = '{"cluster": {TYPE: [HOST:PORT, ...]}, "task": {"type": TYPE, "index": N}}'
_ADDRESS = re.compile(r'(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\s\[\]/:]+):(?P<port>\d{1,5})')


@dataclass(frozen=True)
class Task:
    """One process of a cluster.

    Attributes:
        type: Type of the process: `chief`, `worker` or `ps`, a parameter server.
        index: Index among the processes of its type, from 0.
        cluster: Addresses (`HOST:PORT`) of all processes, by type.
    """

    type: str
    index: int
    cluster: dict[str, list[str]]

    @property
    def address(self) -> str:
        """Address of this process, `HOST:PORT`."""
        return self.cluster[self.type][self.index]

    def __str__(self) -> str:
        return f'{self.type} {self.index}'


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an address; an IPv6 host is without its brackets."""
    host, _, port = address.rpartition(':')
    return host.strip('[]'), int(port)


def task_of_environment() -> Task | None:
    """Reads which process of a cluster this one is.

    TF_CONFIG has the form that TensorFlow defined and that Kubeflow's training operator writes:
    `cluster` lists the addresses by type, `task` is the type and index of this process.

    Returns:
        The task; None for training in one process: TF_CONFIG is unset or empty, names neither
        a cluster nor a task, or names this process alone.

    Raises:
        UserError: TF_CONFIG is malformed, or its processes cannot train together.
    """
    text = os.environ.get('TF_CONFIG', '')
    return parse_tf_config(text) if text.strip() else None


def parse_tf_config(text: str) -> Task | None:
    """Parses the value of TF_CONFIG, as `task_of_environment` does."""
    try:
        config = json.loads(text)
    except ValueError:
        raise UserError(f'TF_CONFIG is not valid JSON; it must be {_FORM}.') from None
    if not isinstance(config, dict):
        raise UserError(f'TF_CONFIG is not a JSON object; it must be {_FORM}.')
    if 'sparseCluster' in config:
        raise UserError(
            'TF_CONFIG has a sparseCluster, which does not tell the chief who its workers are: '
            'set enableDynamicWorker of the TFJob to false.'
        )
    cluster, task = config.get('cluster'), config.get('task')
    if not cluster and task is None:
        return None
    addresses = _cluster(cluster)
    size = sum(map(len, addresses.values()))
    if task is None and size == 1:
        return None
    type_, index = _task(task)
    if type_ == 'evaluator':
        raise UserError(
            'TF_CONFIG makes this process an evaluator, but the chief evaluates: remove the '
            'evaluators from the job.'
        )
    if index >= len(addresses.get(type_, [])):
        raise UserError(
            f'TF_CONFIG names task {type_} {index}, which is not in its cluster '
            f'({_counts(addresses)}).'
        )
    if size == 1:
        return None
    if set(addresses) != set(TYPES) or len(addresses['chief']) != 1:
        raise UserError(
            'Distributed training needs one chief, which also evaluates, workers and parameter '
            f'servers (ps), and no other tasks; the cluster of TF_CONFIG has '
            f'{_counts(addresses)}.'
        )
    return Task(type_, index, addresses)


def _cluster(cluster: Any) -> dict[str, list[str]]:
    """Addresses by type; types without any are left out."""
    if cluster is None:
        raise UserError(f'TF_CONFIG has a task but no cluster; it must be {_FORM}.')
    if not isinstance(cluster, dict) or not all(
        isinstance(addresses, list) for addresses in cluster.values()
    ):
        raise UserError(
            'The cluster of TF_CONFIG is not an object of lists of addresses; TF_CONFIG must '
            f'be {_FORM}.'
        )
    seen: dict[str, str] = {}
    for name, addresses in cluster.items():
        for index, address in enumerate(addresses):
            task = f'{name} {index}'
            match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
            if match is None or not 1 <= int(match['port']) <= 65535:
                raise UserError(
                    f'The address {json.dumps(address)} of {task} in TF_CONFIG is not of the '
                    'form HOST:PORT.'
                )
            if address in seen:
                raise UserError(
                    f'TF_CONFIG gives {seen[address]} and {task} the same address {address}: '
                    'give each its own.'
                )
            seen[address] = task
    return {name: list(addresses) for name, addresses in cluster.items() if addresses}


def _task(task: Any) -> tuple[str, int]:
    """Type and index of this process."""
    type_, index = (
        (task.get('type'), task.get('index')) if isinstance(task, dict) else (None, None)
    )
    if isinstance(index, str) and index.isdecimal():  # as some launchers write it
        index = int(index)
    if not isinstance(type_, str) or type(index) is not int or index < 0:
        raise UserError(
            'The task of TF_CONFIG does not name the type and index of this process; TF_CONFIG '
            f'must be {_FORM}.'
        )
    return type_, index


def _counts(cluster: dict[str, list[str]]) -> str:
    return ', '.join(f'{len(addresses)} {name}' for name, addresses in cluster.items()) or (
        'no tasks'
    )

"""Workers, parameter servers and chiefs as processes of this machine, for tests."""

import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

from mdctr.settings import to_mapping

_CODE = """
import json, logging, sys
from mdctr.settings import parse
from trainer.config import TrainConfig
from trainer.distributed import caches
from trainer.train import train
caches.PREFETCH_BYTES = 0  # small tables too are pulled row by row
logging.basicConfig(level=logging.INFO, format='%(message)s')
config = parse(TrainConfig, json.loads(sys.argv[3]), 'arguments')
train(sys.argv[1], sys.argv[2], config)
"""
_WAIT = 400.0  # seconds, on a machine that does much else


class _Process(subprocess.Popen):
    """A process and the file of its output."""

    output: pathlib.Path


class Processes:
    """A cluster on free ports; every process runs the same command, as in a TFJob.

    Args:
        directory: of the processes' output.
        dataset: that they train on.
        config: of the training.
    """

    def __init__(self, directory, dataset, config, workers=2, servers=2):
        self._directory, self._arguments = directory, [dataset, json.dumps(to_mapping(config))]
        ports = iter(_free_ports(1 + workers + servers))
        counts = {'chief': 1, 'worker': workers, 'ps': servers}
        self._cluster = {
            name: [f'localhost:{next(ports)}' for _ in range(count)]
            for name, count in counts.items()
        }
        self._running, self._started = {}, 0
        for name in ('worker', 'ps'):
            for index in range(len(self._cluster[name])):
                self.start(name, index)

    def start(self, name, index=0, run='unused'):
        """Starts a process, which ends with this one whatever happens."""
        self._started += 1
        output = self._directory / f'{self._started}-{name}-{index}.txt'
        dataset, config = self._arguments
        with open(output, 'w') as out:
            process = _Process(
                [sys.executable, '-W', 'ignore', '-c', _CODE, dataset, str(run), config],
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_parent,
                env={
                    **os.environ,
                    'TF_CONFIG': json.dumps(
                        {'cluster': self._cluster, 'task': {'type': name, 'index': index}}
                    ),
                },
            )
        # A second process of one task is ended by `close` alone.
        self._running[(name, index) if (name, index) not in self._running else output] = process
        process.output = output
        return process

    def address(self, name, index=0):
        """The address of a process, `HOST:PORT`."""
        return self._cluster[name][index]

    def kill(self, name, index=0):
        """Kills a process without warning."""
        process = self._running.pop((name, index))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # it had been running
        return process

    def terminate(self):
        """Sends SIGTERM to every process; their exit statuses and the chief's output."""
        processes, self._running = self._running, {}
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        statuses = {key: process.wait(_WAIT) for key, process in processes.items()}
        return statuses, processes['chief', 0].output.read_text()

    def wait_until(self, condition, name='chief', index=0):
        """Waits until something is so, while a process runs.

        Args:
            condition: of what the process has printed so far.
            name: type of the process.
            index: among those of its type.
        """
        deadline, process = time.monotonic() + _WAIT, self._running[name, index]
        while not condition(process.output.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, _end(process)
            time.sleep(0.02)

    def finish(self):
        """Waits for the chief; its output."""
        chief = self._running['chief', 0]
        assert chief.wait(_WAIT) == 0, _end(chief)
        return chief.output.read_text()

    def close(self):
        """Ends every process that is left."""
        for process in self._running.values():
            process.kill()
            process.wait()


def _end(process):
    return process.output.read_text()[-4000:]


def _end_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        return [each.getsockname()[1] for each in sockets]

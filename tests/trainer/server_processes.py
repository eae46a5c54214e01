"""Workers, parameter servers and chiefs as processes of this machine, for tests."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict

_CODE = '''
import json, logging, sys
from beam_jobs.options import from_mapping
from trainer.config import TrainConfig
from trainer.distributed import caches
from trainer.train import train
caches.AHEAD = 0  # small tables too are pulled row by row
logging.basicConfig(level=logging.INFO, format='%(message)s')
config = from_mapping(TrainConfig, json.loads(sys.argv[3]), 'arguments')
train(sys.argv[1], sys.argv[2], config)
'''
_WAIT = 400.0  # seconds, on a machine that does much else


class Processes:
    """A cluster on free ports; every process runs the same command, as in a TFJob.

    Args:
        directory: of the processes' output.
        dataset: that they train on.
        config: of the training.
    """

    def __init__(self, directory, dataset, config, workers=2, servers=2):
        self._directory, self._arguments = directory, [dataset, json.dumps(asdict(config))]
        ports = iter(_free_ports(1 + workers + servers))
        counts = {'chief': 1, 'worker': workers, 'ps': servers}
        self._cluster = {name: [f'localhost:{next(ports)}' for _ in range(count)]
                         for name, count in counts.items()}
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
            process = subprocess.Popen(
                [sys.executable, '-W', 'ignore', '-c', _CODE, dataset, str(run), config],
                stdout=out, stderr=subprocess.STDOUT, preexec_fn=_end_with_parent, env={
                    **os.environ, 'TF_CONFIG': json.dumps(
                        {'cluster': self._cluster, 'task': {'type': name, 'index': index}})})
        self._running[name, index] = process
        process.output = output
        return process

    def kill(self, name, index=0):
        """Kills a process without warning."""
        process = self._running.pop((name, index))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # it had been running
        return process

    def wait_until(self, condition):
        """Waits until something is so, while the chief runs.

        Args:
            condition: of what the chief has printed so far.
        """
        deadline, chief = time.monotonic() + _WAIT, self._running['chief', 0]
        while not condition(chief.output.read_text()):
            assert chief.poll() is None and time.monotonic() < deadline, _end(chief)
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

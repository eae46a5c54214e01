"""Beam's job service and a pool of two workers on this machine, which share no directory."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.processes import with_tests

_PYTHON = """#!/bin/sh
own=$(mktemp -d {folder}/worker-XXXXXX)
mkdir "$own/tmp" "$own/work"
cd "$own/work"
TMPDIR="$own/tmp" exec {python} "$@"
"""


@contextlib.contextmanager
def job_server(folder: Path) -> Iterator[list[str]]:
    """Runs the processes.

    Args:
        folder: Directory of their files; a worker's own directories are `workers/worker-*/`.

    Yields:
        The Beam options that run a pipeline there.
    """
    ports = [_free_port(), _free_port()]
    commands = [
        ['tests.beam_jobs.job_service', f'--port={ports[0]}', f'--staging_dir={folder}/jobs'],
        ['apache_beam.runners.worker.worker_pool_main', f'--service_port={ports[1]}'],
    ]
    environment = with_tests() | {'PATH': workers_path(folder / 'workers')}
    processes = [
        subprocess.Popen(
            [sys.executable, '-m', *command], env=environment, start_new_session=True
        )
        for command in commands
    ]
    try:
        for port in ports:
            _wait_for(port)
        yield [
            '--runner=PortableRunner',
            f'--job_endpoint=localhost:{ports[0]}',
            '--environment_type=EXTERNAL',
            f'--environment_config=localhost:{ports[1]}',
        ]
    finally:
        for process in processes:
            os.killpg(process.pid, 15)
            process.wait()


def workers_path(folder: Path) -> str:
    """A PATH with which a pool starts every worker in directories of its own.

    Args:
        folder: Where a worker gets `worker-*/work`, its current directory, and
            `worker-*/tmp`, its TMPDIR.
    """
    python = folder / 'bin' / 'python'  # a pool starts workers as `python`, found on PATH
    python.parent.mkdir(parents=True)
    python.write_text(_PYTHON.format(folder=folder, python=sys.executable))
    python.chmod(0o755)
    return f'{python.parent}{os.pathsep}{os.environ["PATH"]}'


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(('localhost', 0))
        return free.getsockname()[1]


def _wait_for(port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(('localhost', port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)

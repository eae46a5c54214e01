"""A Flink session cluster on this machine, with the processes that Beam needs.

Every task manager has its own pool of Python workers, as in its pod on Kubernetes. They must
not share one: Flink's task managers all number their workers from 1, so one that stops its
worker would stop another's. Beam knows one address for all pools, a host name, which each task
manager finds under another loopback address.
"""

import contextlib
import ctypes
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.beam_jobs.job_server import workers_path
from tests.flink import jars

ROOT = Path(__file__).parents[2]
SLOTS = 2  # of a task manager
POOL = 'worker-pool'  # the host name of the pool beside a task manager
# Packages that Flink and Kryo access by reflection, which Java 17 forbids by default.
OPENS = [
    'lang',
    'lang.invoke',
    'lang.reflect',
    'net',
    'io',
    'nio',
    'text',
    'time',
    'util',
    'util.concurrent',
    'util.concurrent.atomic',
    'util.concurrent.locks',
]


class FlinkCluster(contextlib.AbstractContextManager):
    """A job manager, task managers of two slots with Python workers, a job server.

    Every process ends with the context, and with this process, whatever happens.
    """

    def __init__(self, folder: Path, found: jars.Jars, task_managers: int = 2):
        """Args:
        folder: where configuration, logs and temporary files go.
        found: the class paths.
        task_managers: how many.
        """
        self._folder, self._jars = folder, found
        self._processes: dict[str, subprocess.Popen] = {}
        self._task_managers = task_managers
        names = ('rest', 'rpc', 'blob', 'job', 'artifact', 'pool')
        self._ports = dict(zip(names, _free_ports(len(names)), strict=True))

    def __enter__(self) -> 'FlinkCluster':
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error) -> None:
        for process in reversed(list(self._processes.values())):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)

    @property
    def beam_args(self) -> list[str]:
        """The Beam options that run a pipeline here."""
        return [
            '--runner=PortableRunner',
            f'--job_endpoint=localhost:{self._ports["job"]}',
            '--environment_type=EXTERNAL',
            f'--environment_config={POOL}:{self._ports["pool"]}',
            # Workers stay from stage to stage: starting one takes seconds.
            '--environment_cache_millis=30000',
            '--parallelism=2',
        ]

    def ask(self, path: str) -> Any:
        """Returns the answer of Flink's REST service."""
        with urllib.request.urlopen(
            f'http://127.0.0.1:{self._ports["rest"]}{path}', timeout=10
        ) as answer:
            return json.load(answer)

    def kill_task_manager(self, number: int) -> None:
        """Ends a task manager with SIGKILL, as a lost machine would."""
        process = self._processes[f'task-manager-{number}']
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)

    def start_task_manager(self, number: int) -> None:
        """Starts a task manager; its pool of workers, too, if it is new."""
        host = f'127.0.0.{number + 2}'
        hosts = self._folder / 'conf' / f'hosts-{number}'
        hosts.write_text(f'{host} {POOL}\n127.0.0.1 localhost {socket.gethostname()}\n')
        if f'worker-pool-{number}' not in self._processes:
            self._start_pool(number, host)
        self._java(
            f'task-manager-{number}',
            self._jars.flink,
            512,
            'org.apache.flink.runtime.taskexecutor.TaskManagerRunner',
            [
                '--configDir',
                str(self._folder / 'conf'),
                '-D',
                f'taskmanager.resource-id=task-manager-{number}',
            ],
            [f'-Djdk.net.hosts.file={hosts}'],
        )

    def wait_for_task_managers(self, number: int) -> None:
        """Waits until Flink knows `number` task managers and their slots."""
        self._wait(
            f'{number} task managers',
            lambda: self.ask('/overview')['slots-total'] == SLOTS * number,
        )

    def running_on(self, job: str) -> set[str]:
        """The ids of the task managers on which tasks of a job run."""
        found = set()
        for vertex in self.ask(f'/jobs/{job}')['vertices']:
            for task in self.ask(f'/jobs/{job}/vertices/{vertex["id"]}')['subtasks']:
                if task['status'] == 'RUNNING':
                    found.add(task['taskmanager-id'])
        return found

    def failures(self, job: str) -> list[str]:
        """What made a job restart, one text a time."""
        history = self.ask(f'/jobs/{job}/exceptions')['exceptionHistory']['entries']
        return [entry['stacktrace'] for entry in history]

    def logs(self, characters: int = 3000) -> str:
        """The ends of all logs, for a failed test."""
        return '\n\n'.join(
            f'{path.name}:\n{path.read_text(errors="replace")[-characters:]}'
            for path in sorted((self._folder / 'logs').iterdir())
        )

    def _start(self) -> None:
        for name in ('conf', 'logs', 'tmp'):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / 'conf' / 'config.yaml').write_text(self._configuration())
        self._java(
            'job-manager',
            self._jars.flink,
            512,
            'org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint',
            ['--configDir', str(self._folder / 'conf')],
        )
        self._wait('the job manager', lambda: self.ask('/overview'))
        for number in range(self._task_managers):
            self.start_task_manager(number)
        self._java(
            'job-server',
            self._jars.job_server,
            384,
            'org.apache.beam.runners.flink.FlinkJobServerDriver',
            [
                f'--flink-master=127.0.0.1:{self._ports["rest"]}',
                '--job-host=localhost',
                f'--job-port={self._ports["job"]}',
                f'--artifact-port={self._ports["artifact"]}',
                '--expansion-port=-1',
                f'--artifacts-dir={self._folder / "tmp" / "artifacts"}',
            ],
        )
        for number in range(self._task_managers):
            self._wait(
                'a worker pool',
                functools.partial(_listens, f'127.0.0.{number + 2}', self._ports['pool']),
            )
        self._wait('the job server', lambda: _listens('localhost', self._ports['job']))
        self.wait_for_task_managers(self._task_managers)

    def _start_pool(self, number: int, host: str) -> None:
        path = workers_path(self._folder / f'workers-{number}')
        modules = str(ROOT)  # the workers must find the tests' reader
        self._run(
            f'worker-pool-{number}',
            [
                sys.executable,
                str(Path(__file__).parent / 'worker_pool.py'),
                f'{host}:{self._ports["pool"]}',
            ],
            {'PATH': path, 'PYTHONPATH': modules, 'TF_CPP_MIN_LOG_LEVEL': '3'},
        )

    def _check_processes(self) -> None:
        for name, process in self._processes.items():
            if process.poll() not in (None, -signal.SIGKILL):
                raise RuntimeError(f'{name} ended by itself.\n{self.logs()}')

    def _configuration(self) -> str:
        # A task manager that is started without Flink's scripts is told every size.
        return json.dumps(
            {  # JSON is YAML
                'jobmanager.rpc.address': '127.0.0.1',
                'jobmanager.bind-host': '127.0.0.1',
                'jobmanager.rpc.port': self._ports['rpc'],
                'blob.server.port': str(self._ports['blob']),
                'rest.address': '127.0.0.1',
                'rest.bind-address': '127.0.0.1',
                'rest.bind-port': str(self._ports['rest']),
                'rest.port': self._ports['rest'],
                'taskmanager.host': '127.0.0.1',
                'taskmanager.bind-host': '127.0.0.1',
                'taskmanager.numberOfTaskSlots': SLOTS,
                'taskmanager.cpu.cores': 1.0,
                'taskmanager.memory.framework.heap.size': '128m',
                'taskmanager.memory.framework.off-heap.size': '128m',
                'taskmanager.memory.jvm-metaspace.size': '256m',
                'taskmanager.memory.jvm-overhead.min': '128m',
                'taskmanager.memory.jvm-overhead.max': '128m',
                'taskmanager.memory.task.heap.size': '256m',
                'taskmanager.memory.task.off-heap.size': '0m',
                # Enough for all tasks of a job on the one remaining task manager.
                'taskmanager.memory.network.min': '128m',
                'taskmanager.memory.network.max': '128m',
                'taskmanager.network.sort-shuffle.min-buffers': 64,
                # A record, here an Arrow batch, must fit into the buffer that sorts it.
                'taskmanager.memory.managed.size': '512m',
                'io.tmp.dirs': str(self._folder / 'tmp'),
                # Spread the work, so that the task manager that is killed has some.
                'cluster.evenly-spread-out-slots': True,
                'heartbeat.interval': 2000,
                'heartbeat.timeout': 12000,
                'restart-strategy.type': 'fixed-delay',
                # One loss can be noticed by several tasks, one restart after the other.
                'restart-strategy.fixed-delay.attempts': 10,
                'restart-strategy.fixed-delay.delay': '3 s',
            }
        )

    def _java(
        self,
        name: str,
        class_path: str,
        megabytes: int,
        main: str,
        arguments: list[str],
        options: list[str] | None = None,
    ) -> None:
        opens = [f'--add-opens=java.base/java.{package}=ALL-UNNAMED' for package in OPENS]
        self._run(
            name,
            [
                jars.java(),
                f'-Xmx{megabytes}m',
                '-XX:+UseSerialGC',
                *opens,
                '--add-opens=java.base/sun.nio.ch=ALL-UNNAMED',
                f'-Djava.io.tmpdir={self._folder / "tmp"}',
                *(options or []),
                '-cp',
                class_path,
                main,
                *arguments,
            ],
        )

    def _run(
        self, name: str, command: list[str], environment: dict[str, str] | None = None
    ) -> None:
        with open(self._folder / 'logs' / f'{name}.log', 'ab') as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent,
                start_new_session=True,
                env=os.environ
                | {'FLINK_CONF_DIR': str(self._folder / 'conf')}
                | (environment or {}),
            )

    def _wait(self, what: str, ready: Callable[[], Any], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if ready():
                    return
            self._check_processes()
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f'{what}: not there after {seconds:.0f} seconds.\n{self.logs()}'
                )
            time.sleep(0.5)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for free in sockets:
            free.bind(('127.0.0.1', 0))
        return [free.getsockname()[1] for free in sockets]


def _listens(host: str, port: int) -> bool:
    socket.create_connection((host, port), 1).close()
    return True


def _end_with_parent() -> None:
    """In a new process: the kernel kills it when the one that started it is gone."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

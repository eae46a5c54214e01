"""Processes that stop at a chosen write to a workspace, for tests of kills and of races.

A function runs in a process of its own, which stops before the n-th write or removal through
`mdctr.storage`, counted from 1. To take and release a lease counts, to renew it does not. The
processes are forked from a server that has imported the given modules, so that each starts in
a fraction of a second.

    process = StoppedProcess(build, (workspace,), at=7, signal=signal.SIGSTOP)
    assert process.wait_until_stopped()
    ...                       # what others do meanwhile
    process.resume()
    process.join()
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from mdctr import leases, storage
from mdctr.errors import UserError

_TIMEOUT = 300.0


class StoppedProcess:
    """A process that runs a function and stops at a write.

    Args:
        function: Function of a module, so that it can be pickled.
        arguments: Its arguments.
        at: Number of the write before which the process stops; 0 to let it run.
        stop: SIGKILL, which ends the process there, or SIGSTOP, after which `resume` goes on.
        preload: Modules that the server imports once.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: Sequence[Any] = (),
        at: int = 0,
        stop: signal.Signals = signal.SIGKILL,
        preload: Sequence[str] = (),
    ):
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(['tests.stopped_writes', *preload])
        self._queue = context.Queue()
        self.process = context.Process(
            target=_run, args=(self._queue, function, tuple(arguments), at, stop)
        )
        self.process.start()

    def wait_until_stopped(self) -> bool:
        """Waits until the process has stopped at the write; False if it ended before."""
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            if not self.process.is_alive():
                return False
            if _state(self.process.pid) == 'T':
                return True
            time.sleep(0.01)
        raise TimeoutError('The process neither stopped nor ended.')

    def resume(self) -> None:
        """Continues a process that was suspended."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def join(self) -> str | None:
        """Waits for the end of the process.

        Returns:
            The sentence of the `UserError` that ended it; None if it ended well.

        Raises:
            AssertionError: It ended with another error.
        """
        self.process.join(_TIMEOUT)
        code = self.process.exitcode
        if code == -signal.SIGKILL:
            return None
        assert code == 0, f'exit code {code}'
        return self._queue.get(timeout=10)

    def was_killed(self) -> bool:
        """Waits for the end of the process; whether it was killed at the write."""
        self.process.join(_TIMEOUT)
        return self.process.exitcode == -signal.SIGKILL


def with_short_leases(function: Callable[..., Any], *arguments: Any) -> None:
    """Calls a function in a process whose leases expire soon after it is suspended."""
    leases.lease.__wrapped__.__defaults__ = (False, None, 6.0)  # type: ignore[attr-defined]
    function(*arguments)


def environment() -> dict[str, str]:
    """What a process that was started earlier needs to reach the object store."""
    return {key: value for key, value in os.environ.items() if key.startswith('AWS_')}


def count_writes(
    function: Callable[..., Any], arguments: Sequence[Any] = (), preload: Sequence[str] = ()
) -> int:
    """The number of writes of a function that runs undisturbed."""
    return _Counting(function, arguments, preload).writes()


class _Counting(StoppedProcess):
    def __init__(
        self, function: Callable[..., Any], arguments: Sequence[Any], preload: Sequence[str]
    ):
        super().__init__(_counted, (function, tuple(arguments)), preload=preload)

    def writes(self) -> int:
        """Waits for the end, and returns the number of writes."""
        problem = self.join()
        assert problem is not None, 'no count'
        return int(problem)


def _counted(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    counter = _Counter(0, signal.SIGKILL)
    counter.install()
    function(*arguments)
    raise UserError(str(counter.writes))


class _Counter:
    """Counts the writes of this process, and stops it at one of them."""

    def __init__(self, at: int, stop: signal.Signals):
        self.writes, self._at, self._stop = 0, at, stop
        self._check = storage._before_write

    def install(self) -> None:
        """Begins to count."""
        storage._before_write = self._before_write

    def _before_write(self, path: str) -> None:
        if not _renews_a_lease():
            self.writes += 1
            if self.writes == self._at:
                os.kill(os.getpid(), self._stop)
        self._check(path)


def _run(
    queue: Any,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    at: int,
    stop: signal.Signals,
) -> None:
    if at:
        _Counter(at, stop).install()
    sentence = None
    try:
        function(*arguments)
    except UserError as error:
        sentence = str(error)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    queue.put(sentence)
    queue.close()
    queue.join_thread()
    os._exit(0)


def _renews_a_lease() -> bool:
    """Whether this is the thread of a lease, which writes by the clock."""
    target = getattr(threading.current_thread(), '_target', None)
    return getattr(target, '__name__', '') == '_renew_until_released'


def _state(pid: int | None) -> str:
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
            return file.read().rpartition(')')[2].split()[0]
    except OSError:
        return ''

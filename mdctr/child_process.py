"""Child processes that end with the process that started them.

A command starts steps through a library that does not expose their process IDs and does not end
them when the command stops. Each step therefore registers itself in a directory, whose path the
command passes in an environment variable, and watches the command:

- If the command receives SIGTERM, it forwards the signal and waits for the steps to end.
- If the command dies, its steps end immediately.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

_VARIABLE = 'MDCTR_RUNNER'
_STOPPED = 128 + signal.SIGTERM
_POLL_SECONDS = 0.2


class ChildProcesses:
    """The steps of this command.

    Attributes:
        stopping: Whether the command has received SIGTERM.
    """

    def __init__(self, directory: str, grace: float):
        self.stopping = False
        self._directory, self._grace = directory, grace

    def stop(self) -> None:
        """Sends SIGTERM to the steps, and SIGKILL to those that run after the grace period."""
        if self.stopping:
            return
        self.stopping = True
        with open(os.path.join(self._directory, 'stop'), 'w', encoding='utf-8'):
            pass  # tells a step that is just starting
        self._send(signal.SIGTERM)
        timer = threading.Timer(self._grace, self._send, [signal.SIGKILL])
        timer.daemon = True
        timer.start()

    def _send(self, number: signal.Signals) -> None:
        for name in os.listdir(self._directory):
            if name.isdigit():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(name), number)


@contextlib.contextmanager
def child_processes(grace: float = 60.0) -> Iterator[ChildProcesses]:
    """Context in which the steps that this process starts end with it.

    On SIGTERM, `stopping` is set and SIGTERM is sent to the steps. The caller must wait for
    them and must not start others.

    Args:
        grace: Grace period in seconds, after which the steps are killed.
    """
    with tempfile.TemporaryDirectory(prefix='mdctr-steps-') as directory:
        children = ChildProcesses(directory, grace)
        is_main_thread = threading.current_thread() is threading.main_thread()
        if is_main_thread:
            previous = signal.signal(signal.SIGTERM, lambda *_: children.stop())
        before = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = f'{os.getpid()}:{directory}'
        try:
            yield children
        finally:
            if before is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = before
            if is_main_thread:
                signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


@contextlib.contextmanager
def child_of_runner() -> Iterator[None]:
    """Context of a step that ends when the command that started it ends.

    Does nothing if no command waits for the step, as on a cluster.
    """
    runner, _, directory = os.environ.get(_VARIABLE, '').partition(':')
    if not runner:
        yield
        return
    entry = os.path.join(directory, str(os.getpid()))
    try:
        with open(entry, 'w', encoding='utf-8'):
            pass
        watched = _watch(int(runner))
    except OSError:  # the command has ended already
        sys.exit(_STOPPED)
    if os.path.exists(os.path.join(directory, 'stop')):
        sys.exit(_STOPPED)
    thread = threading.Thread(target=_end_with, args=[watched, int(runner)], daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.remove(entry)


def end_with_parent() -> None:
    """Makes this process, which `multiprocessing` started, end when its parent ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        watched = [parent.sentinel, parent.pid]
        threading.Thread(target=_end_with, args=watched, daemon=True).start()


def _watch(process: int) -> int | None:
    """A file descriptor that becomes readable when a process ends; None if unsupported."""
    os.kill(process, 0)
    return os.pidfd_open(process) if hasattr(os, 'pidfd_open') else None


def _end_with(descriptor: int | None, process: int) -> None:
    """Waits until a process ends, then kills this one."""
    if descriptor is not None:
        import select

        select.select([descriptor], [], [])
    else:
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(process, 0)
                time.sleep(_POLL_SECONDS)
    # SIGKILL, because anything that this process still did could conflict with the next run.
    os.kill(os.getpid(), signal.SIGKILL)

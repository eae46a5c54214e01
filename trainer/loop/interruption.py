"""Orderly stop on SIGTERM, which Kubernetes sends before it evicts or deletes a pod."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_STATUS = 128 + signal.SIGTERM  # what shells and Kubernetes report for a process so ended

_SENTENCE = 'Training stopped on SIGTERM; the same command resumes it from its last checkpoint.'

logger = logging.getLogger(__name__)


class TrainingInterrupted(SystemExit):
    """Training stopped on SIGTERM; the next run with the same arguments resumes it.

    As a `SystemExit` it ends the process with status 143, without a traceback, unless the
    caller handles it.

    Args:
        sentence: Message for the user.
    """

    def __init__(self, sentence: str):
        super().__init__(sentence)
        self.code = EXIT_STATUS


class StopRequest:
    """Whether this process has been asked to stop.

    Outside `deferred()`, where a run has nothing to save, SIGTERM raises
    `TrainingInterrupted` at once. Inside, it sets `requested`, and the loop stops at the next
    point where it can save a checkpoint.

    Attributes:
        requested: Whether SIGTERM has arrived.
    """

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Context in which SIGTERM is only recorded, for the caller to poll `requested`.

        Raises:
            TrainingInterrupted: At the end, if SIGTERM arrived and the caller did not stop.
        """
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.requested:
            raise TrainingInterrupted(_SENTENCE)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        # No logging here: the signal may have arrived in the middle of a write to the log.
        first, self.requested = not self.requested, True
        if first and not self._deferred:
            raise TrainingInterrupted(_SENTENCE)


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Context in which SIGTERM stops training in order; logs the reason.

    The previous handler is restored at the end. In a thread other than the main one, which
    Python does not let handle signals, nothing is changed.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = signal.signal(signal.SIGTERM, stop._handle)
    try:
        yield stop
    except TrainingInterrupted as error:
        logger.warning('%s', error)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)

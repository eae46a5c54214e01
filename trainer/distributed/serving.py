"""Workers and parameter servers: processes that run what the chief sends them."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from types import FrameType
from typing import NoReturn

import trainer.distributed.reading  # registers the op that reads examples  # noqa: F401
from trainer.distributed.listening import (
    fail_fast,
    is_listening,
    reserved_port,
    restrict_to_address,
)
from trainer.distributed.tf_config import Task
from trainer.keras import tf
from trainer.loop.interruption import EXIT_STATUS

_THREADS = 4  # minimum of a server, so that no call waits for another
_POLL_SECONDS = 0.5

logger = logging.getLogger(__name__)


def serve(task: Task) -> NoReturn:
    """Runs a worker or a parameter server until the process is ended.

    On SIGTERM it serves on until the chief has ended, for the chief needs workers and parameter
    servers to finish its step and save a checkpoint; a second SIGTERM ends it at once.

    Args:
        task: Task of this process.

    Raises:
        UserError: The port of the task is taken.
        SystemExit: SIGTERM arrived, and the chief has ended.
    """
    fail_fast()
    config = tf.compat.v1.ConfigProto(
        inter_op_parallelism_threads=max(_THREADS, os.cpu_count() or 1)
    )
    with reserved_port(task):
        pass
    server = tf.distribute.Server(
        tf.train.ClusterSpec(task.cluster),
        job_name=task.type,
        task_index=task.index,
        protocol='grpc',
        config=config,
        start=False,
    )
    restrict_to_address(task)
    server.start()
    logger.info('Serving as %s.', task)
    if threading.current_thread() is not threading.main_thread():
        server.join()
    else:
        # Python handles signals between its own instructions, and never in `server.join()`.
        _wait_for_sigterm()
        logger.info('SIGTERM: %s serves until the chief has ended.', task)
        chief = task.cluster['chief'][0]
        while is_listening(chief):
            time.sleep(_POLL_SECONDS)
    raise SystemExit(EXIT_STATUS)


class _Terminated(Exception):
    """SIGTERM arrived."""


def _wait_for_sigterm() -> None:
    def handle(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise _Terminated

    signal.signal(signal.SIGTERM, handle)
    with contextlib.suppress(_Terminated):
        while True:
            time.sleep(3600)

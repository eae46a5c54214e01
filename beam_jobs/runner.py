"""Running a pipeline: in this process unless told otherwise, with progress and plain errors."""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from beam_jobs.atomic import write_text
from beam_jobs.directory import cannot_write
from beam_jobs.errors import UserError

_ROOM = 4096  # bytes


def run(make: Callable[[beam.Pipeline], None], beam_args: Sequence[str]) -> None:
    """Runs the pipeline that `make` adds to, and waits for it.

    Without `--runner` it runs in memory: Beam's own default would first look for a runner
    to download.
    """
    options = PipelineOptions(list(beam_args))
    runner = None
    if options.view_as(StandardOptions).runner is None:
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner
        runner = FnApiRunner()
    pipeline = beam.Pipeline(runner=runner, options=options)
    make(pipeline)
    pipeline.run().wait_until_finish()


@contextlib.contextmanager
def plain_errors(staging: str) -> Iterator[None]:
    """Raises the `UserError` of a worker as itself, whatever the runner made of it.

    Raises:
        UserError: where `telling_errors` in a worker met one.
    """
    # Written beforehand, so that a sentence about a full disk finds its room.
    write_text(_problem(staging), ' ' * _ROOM)
    try:
        yield
    except Exception as error:
        sentence = _told(staging)
        if sentence:
            raise UserError(sentence) from error
        raise


@contextlib.contextmanager
def telling_errors(directory: str, staging: str) -> Iterator[None]:
    """In a worker: leaves the sentence of a `UserError` where `plain_errors` finds it.

    What the file system refuses becomes a sentence about `directory`.
    """
    try:
        yield
    except UserError as error:
        _tell(staging, str(error))
        raise
    except OSError as error:
        sentence = cannot_write(directory, error)
        _tell(staging, sentence)
        raise UserError(sentence) from error


class _NoUserErrors(logging.Filter):
    """Drops the tracebacks that Beam logs for errors that are the user's to mend."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], UserError))


_NO_USER_ERRORS = _NoUserErrors()  # one, so that it is added but once


@contextlib.contextmanager
def progress_lines(staging: str, steps: Sequence[tuple[str, str, int]],
                   every: float = 2.0) -> Iterator[None]:
    """Writes to standard error how many files each step has written, while the job runs.

    Args:
        staging: where the steps' folders are.
        steps: of each its label, its folder and the number of files that it will write.
        every: seconds between looks.
    """
    done = threading.Event()

    def watch() -> None:
        last = None
        while not done.wait(every):
            line = _progress(staging, steps)
            if line != last:
                print(line, file=sys.stderr, flush=True)
            last = line

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _progress(staging: str, steps: Sequence[tuple[str, str, int]]) -> str:
    parts = []
    for label, folder, total in steps:
        try:
            names = os.listdir(os.path.join(staging, folder))
        except FileNotFoundError:
            names = []
        count = sum(not name.endswith('.tmp') for name in names)
        parts.append(f'{label} {count} of {total}')
    return ', '.join(parts)


def _problem(staging: str) -> str:
    return os.path.join(staging, 'problem.txt')


def _tell(staging: str, sentence: str) -> None:
    for name in ('common', 'worker.sdk_worker', 'worker.bundle_processor'):
        logging.getLogger(f'apache_beam.runners.{name}').addFilter(_NO_USER_ERRORS)
    text = sentence.encode()[:_ROOM]
    with contextlib.suppress(OSError), open(_problem(staging), 'r+b') as file:
        file.write(text)


def _told(staging: str) -> str:
    try:
        with open(_problem(staging), encoding='utf-8', errors='replace') as file:
            return file.read().strip()
    except OSError:
        return ''

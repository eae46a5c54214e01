"""Runs Beam pipelines: in this process by default, with progress and one-sentence errors."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from mdctr import storage
from mdctr.errors import NoRowsError, UserError

logger = logging.getLogger(__name__)
_ERROR_BYTES = 4096
_ERRORS = {kind.__name__: kind for kind in (UserError, NoRowsError)}


def run_pipeline(build: Callable[[beam.Pipeline], None], beam_args: Sequence[str]) -> None:
    """Runs a pipeline and waits until it finishes.

    Args:
        build: Adds the steps to the pipeline.
        beam_args: Beam options. Without `--runner` the pipeline runs in memory: Beam's own
            default would first look for a runner to download.
    """
    options = PipelineOptions(list(beam_args))
    runner = None
    if options.view_as(StandardOptions).runner is None:
        from apache_beam.runners.portability.fn_api_runner import FnApiRunner

        runner = FnApiRunner()
    pipeline = beam.Pipeline(runner=runner, options=options)
    build(pipeline)
    pipeline.run().wait_until_finish()


def warn_if_large(size: int, limit: float, beam_args: Sequence[str]) -> None:
    """Warns if a log is too large for the runner in memory, and says which one to use.

    Args:
        size: Bytes of the log.
        limit: Gigabytes above which there is a warning.
        beam_args: Beam options.
    """
    gigabytes = size / 1e9
    options = PipelineOptions(list(beam_args)).view_as(StandardOptions)
    if options.runner is None and gigabytes > limit:
        logger.warning(
            'The log has %.1f GB, and without --runner all of its rows are held in the memory '
            'of this machine, compressed: use an engine that spills them to disks, such as '
            'Flink (--runner=PortableRunner) or Dataflow (--runner=DataflowRunner), or set '
            'dataset.in_memory_gb above %.1f if the memory is enough',
            gigabytes,
            gigabytes,
        )


@contextlib.contextmanager
def raise_user_errors(staging: str) -> Iterator[None]:
    """Raises the `UserError` of a worker as such, whatever the runner turned it into.

    Args:
        staging: A directory that the workers and this process can reach.

    Raises:
        UserError: `report_user_errors` in a worker caught one; a `NoRowsError` if it was one.
    """
    # Makes room for an error about a full disk, whose reporter removes this file first.
    storage.write_bytes(_reserve_path(staging), b' ' * _ERROR_BYTES)
    try:
        yield
    except Exception as error:
        reported = _read_error(staging)
        if reported is not None:
            raise reported from error
        raise


@contextlib.contextmanager
def report_user_errors(staging: str, describe: Callable[[Exception], str]) -> Iterator[None]:
    """In a worker: writes a `UserError` to where `raise_user_errors` reads it.

    Args:
        staging: A directory that the workers and the process of the job can reach.
        describe: Turns an error of the file system into one sentence for the user.

    Raises:
        UserError: The context raised one, or an error of the file system.
    """
    try:
        yield
    except UserError as error:
        _write_error(staging, error)
        raise
    except Exception as error:
        if not storage.is_storage_error(error):
            raise
        described = UserError(describe(error))
        _write_error(staging, described)
        raise described from error


class _DropUserErrors(logging.Filter):
    """Drops the tracebacks that Beam logs for errors that the user can fix."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], UserError))


_DROP_USER_ERRORS = _DropUserErrors()  # a single instance, so that it is added only once


@contextlib.contextmanager
def log_progress(
    steps: Sequence[tuple[str, str, int]], interval: float | None = None
) -> Iterator[None]:
    """Logs how many files each step has written, while the pipeline runs.

    Args:
        steps: Label, directory and number of files of each step.
        interval: Seconds between two checks; more by default if they are requests.
    """
    remote = any(storage.is_url(directory) for _, directory, _ in steps)
    pause = interval or (10.0 if remote else 2.0)
    done = threading.Event()

    def watch() -> None:
        last = None
        while not done.wait(pause):
            try:
                line = _progress(steps)
            except Exception as error:  # the build itself says what is wrong
                if not storage.is_storage_error(error):
                    raise
                continue
            if line != last:
                logger.info('%s', line)
            last = line

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _progress(steps: Sequence[tuple[str, str, int]]) -> str:
    return ', '.join(
        f'{label} {len(storage.list_directory(directory))} of {total}'
        for label, directory, total in steps
    )


def _error_path(staging: str) -> str:
    return storage.join(staging, 'error.txt')


def _reserve_path(staging: str) -> str:
    return storage.join(staging, 'reserve')


def _write_error(staging: str, error: UserError) -> None:
    for name in ('common', 'worker.sdk_worker', 'worker.bundle_processor'):
        logging.getLogger(f'apache_beam.runners.{name}').addFilter(_DROP_USER_ERRORS)
    kind = type(error).__name__ if type(error).__name__ in _ERRORS else UserError.__name__
    try:
        storage.remove(_reserve_path(staging))
        # The first of several errors is the cause of what followed.
        storage.create(_error_path(staging), f'{kind}\n{error}'.encode()[:_ERROR_BYTES])
    except Exception as failure:
        if not storage.is_storage_error(failure):
            raise


def _read_error(staging: str) -> UserError | None:
    try:
        text = storage.read_bytes(_error_path(staging)).decode(errors='replace')
    except Exception as failure:
        if not storage.is_storage_error(failure):
            raise
        return None
    kind, _, sentence = text.partition('\n')
    return _ERRORS[kind](sentence)

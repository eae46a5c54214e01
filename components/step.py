"""The context in which every step does its work."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mdctr import storage
from mdctr.child_process import child_of_runner
from mdctr.console import ERROR_FILE, quiet_libraries
from mdctr.errors import UserError

if TYPE_CHECKING:
    from kfp import dsl

# Number of the attempt at a task, from 0; set by Kubeflow if retries are enabled.
_ATTEMPT = 'KFP_RETRY_INDEX'


@contextlib.contextmanager
def step(workspace: str, output: 'dsl.Artifact') -> Iterator[None]:
    """Context of a step's work, in which a `UserError` ends the step with its message.

    Kubeflow retries a failed task whatever the reason: its intermediate representation has no
    condition for retries. Therefore the message is kept in the workspace, and a later attempt
    at the same task ends with it immediately. A first attempt, such as after a person has
    pressed *Retry*, does the work again.

    Args:
        workspace: Directory that the steps share.
        output: Any output artifact; its URI identifies this task of this run.
    """
    quiet_libraries()
    if 'KUBERNETES_SERVICE_HOST' in os.environ or 'KFP_POD_NAME' in os.environ:
        os.umask(
            os.umask(0o027) | 0o027
        )  # with Argo's umask of 0, everyone could write all files
    record = _record(workspace, output)
    with child_of_runner():
        try:
            with storage.reporting_errors(record):
                _repeat_error(record)
            with _reporting_errors(workspace):
                yield
        except UserError as error:
            _report_error(str(error))
            # A store that did not answer may answer the next attempt.
            lasting = error.__cause__ is None or not storage.is_storage_error(error.__cause__)
            if _ATTEMPT in os.environ and lasting:
                with contextlib.suppress(UserError), storage.reporting_errors(record):
                    storage.write_json(record, {'error': str(error)})
            sys.exit(f'mdctr: {error}')


def _reporting_errors(workspace: str) -> contextlib.AbstractContextManager[None]:
    """Context in which errors of an object store are one sentence."""
    if storage.is_url(workspace):
        return storage.reporting_errors(workspace)
    return contextlib.nullcontext()


def _record(workspace: str, output: 'dsl.Artifact') -> str:
    """The path at which the error of a task is kept."""
    task = hashlib.sha256(output.uri.encode()).hexdigest()[:16]
    return storage.join(workspace, 'errors', f'{task}.json')


def _repeat_error(record: str) -> None:
    """Ends a retry with the `UserError` that ended an earlier attempt."""
    first = os.environ.get(_ATTEMPT, '0') == '0'
    try:
        if first:
            storage.remove(record)
            return
        error = storage.read_json(record)['error']
    except (FileNotFoundError, ValueError, KeyError):
        return
    sys.exit(f'mdctr: {error} (Error of the first attempt; a retry cannot help.)')


def _report_error(message: str) -> None:
    """Passes the message to the command that started the run."""
    path = os.environ.get(ERROR_FILE)
    if path:
        with open(path, 'w', encoding='utf-8') as file:
            file.write(message)

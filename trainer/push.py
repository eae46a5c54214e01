"""Pushing a blessed model to the directory that TensorFlow Serving or KServe reads.

    <destination>/<name>/<version>/     the SavedModel; versions count up from 1

A version appears in one step: the model is copied to a sibling that servers do not read (its
name is no number) and renamed. `saved_model.pb` is copied last, since a server takes its
presence as the model's being whole; that matters where the rename is not one step, on object
stores mounted as directories.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from beam_jobs.errors import UserError

SAVED_MODEL = 'saved_model.pb'
_PARTIAL = '.pushing-'


@dataclass(frozen=True)
class PushResult:
    """What was decided.

    Attributes:
        pushed: whether there is a new version.
        version: its number.
        path: its directory.
        reason: one sentence.
    """

    pushed: bool
    version: int | None
    path: str | None
    reason: str


def push(model: str, evaluation: str, destination: str, name: str) -> PushResult:
    """Pushes an exported model as the next version, if its evaluation blessed it.

    The model is first loaded in a fresh process, where it must score its golden batch as
    training did. Two pushes at once get different versions, and one that is killed leaves no
    version, only a partial copy that the next push clears away.

    Args:
        model: the export's directory.
        evaluation: the directory with its `metrics.json`.
        destination: the directory above all models' names.
        name: the model's.

    Raises:
        UserError: there is no evaluation, it is another model's, the golden batch is not
            scored as it was, or the destination cannot be written.
    """
    verdict = _verdict(evaluation)
    if not verdict['blessed']:
        return PushResult(False, None, None,
                          f'Not blessed: {"; ".join(verdict["reasons"])}.')
    _check_golden(model)
    versions = os.path.join(destination, name)
    try:
        os.makedirs(versions, exist_ok=True)
        _clear_partial_copies(versions)
        partial = _copy(model, versions)
        version = _rename_to_next_version(partial, versions)
    except OSError as error:
        raise UserError(f'The model cannot be pushed to {versions}: '
                        f'{error.strerror or error}.') from error
    path = os.path.join(versions, str(version))
    return PushResult(True, version, path, f'Pushed version {version} of {name}.')


def latest_version(destination: str, name: str) -> str | None:
    """The directory of the newest whole version of a pushed model, None before the first."""
    versions = [version for version in _versions(os.path.join(destination, name))
                if os.path.exists(os.path.join(destination, name, str(version), SAVED_MODEL))]
    return os.path.join(destination, name, str(max(versions))) if versions else None


def _verdict(evaluation: str) -> dict:
    path = os.path.join(evaluation, 'metrics.json')
    try:
        with open(path, encoding='utf-8') as file:
            values = json.load(file)
        return {'blessed': values['blessed'] is True, 'reasons': list(values['reasons'])}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f'{path} holds no verdict: evaluate the model first, with '
                        '`mdctr evaluate`.') from None


def _check_golden(model: str) -> None:
    if not os.path.exists(os.path.join(model, SAVED_MODEL)):
        raise UserError(f'{model} holds no exported model ({SAVED_MODEL} is missing).')
    # A fresh process, as a server is one: nothing that training left in memory helps.
    done = subprocess.run([sys.executable, '-m', 'trainer.golden', model],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        output = (done.stdout.strip() or done.stderr.strip()).splitlines()
        reason = output[-1] if output else f'the process ended with {done.returncode}'
        raise UserError(f'The model was not pushed: {reason}.')


def _clear_partial_copies(versions: str) -> None:
    """Removes what a push that was killed left; a running push holds its copy's lock."""
    for entry in os.listdir(versions):
        if entry.startswith(_PARTIAL) and not _is_running(entry):
            shutil.rmtree(os.path.join(versions, entry), ignore_errors=True)


def _is_running(partial: str) -> bool:
    """Whether the process that writes this copy lives; of another host, that is unknown and
    it is left alone."""
    host, _, rest = partial.removeprefix(_PARTIAL).rpartition('.')[0].rpartition('.')
    if host != _host():
        return True
    try:
        os.kill(int(rest), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _host() -> str:
    return ''.join(c for c in os.uname().nodename if c.isalnum() or c == '-')


def _copy(model: str, versions: str) -> str:
    partial = tempfile.mkdtemp(prefix=f'{_PARTIAL}{_host()}.{os.getpid()}.', dir=versions)
    os.chmod(partial, 0o755)  # servers run as another user
    shutil.copytree(model, partial, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns(SAVED_MODEL))
    shutil.copy2(os.path.join(model, SAVED_MODEL), partial)
    return partial


def _rename_to_next_version(partial: str, versions: str) -> int:
    version = max(_versions(versions), default=0) + 1
    while True:
        try:
            os.rename(partial, os.path.join(versions, str(version)))
            return version
        except OSError:
            # Another push took the number: a directory cannot be renamed over a full one.
            if not os.path.exists(os.path.join(versions, str(version))):
                raise
            version += 1


def _versions(directory: str) -> list[int]:
    try:
        return [int(entry) for entry in os.listdir(directory) if entry.isdecimal()]
    except FileNotFoundError:
        return []

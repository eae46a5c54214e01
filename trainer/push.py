"""From a blessed model to the next version in the directory that is served.

    <destination>/<name>/<version>/     what TensorFlow Serving and KServe read; a version is
                                        a number, and is there when its saved_model.pb is
    <destination>/<name>/.tmp-...       a push that is under way, or was killed
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from beam_jobs.errors import UserError
from beam_jobs.exported import SAVED_MODEL, model_digest, read_model_json

_TEMPORARY = '.tmp-'


@dataclass(frozen=True)
class PushResult:
    """What a push did.

    Attributes:
        pushed: whether there is a new version.
        version: its number.
        path: its directory.
        reason: the outcome in one sentence.
    """

    pushed: bool
    version: int | None
    path: str | None
    reason: str


def push(model: str, evaluation: str, destination: str, name: str,
         expected: int | None = None) -> PushResult:
    """Pushes the model as the next version, if its evaluation blessed it.

    First a fresh process loads the SavedModel and must score its golden batch as training
    did. The version appears in one rename: whoever lists the directory sees all of it or
    nothing. What killed pushes left behind is removed.

    Args:
        model: the directory of the exported model.
        evaluation: the directory of its evaluation.
        destination: the directory above the models' names.
        name: of the pushed model.
        expected: the greatest version that was there when the model was judged (0 for none).
            Where another has been pushed since, this model is not: it was judged beside a
            model that is served no more. Absent, it is pushed after whatever is there.

    Raises:
        UserError: no model or evaluation, an evaluation of another model, a model that does
            not score its golden batch, or a destination that cannot be written.
    """
    verdict = _read_verdict(evaluation)
    read_model_json(model)
    _check_same_model(model, evaluation, verdict)
    if not verdict['blessed']:
        reasons = verdict.get('failed') or verdict['reasons']
        return PushResult(False, None, None, 'Not pushed, the model is not blessed: '
                          + '; '.join(reasons) + '.')
    _check_golden(model)
    directory = os.path.join(destination, name)
    try:
        os.makedirs(directory, exist_ok=True)
        with _alone(directory):
            version = None
            if expected in (None, greatest_version(destination, name)):
                _remove_leftovers(directory)
                version = _publish(_copy(model, directory), directory, expected)
    except OSError as error:
        raise UserError(f'The model cannot be pushed to {directory} '
                        f'({error.strerror or error}): make it a directory that can be '
                        'written.') from error
    if version is None:
        return PushResult(
            False, None, None, f'Not pushed, version {greatest_version(destination, name)} of '
            f'{name} came after version {expected}, beside which this model was judged: '
            'another run was faster, and its model stays.')
    path = os.path.join(directory, str(version))
    return PushResult(True, version, path, f'Pushed {name} version {version} to {path}.')


def latest_version(destination: str, name: str) -> str | None:
    """The directory of the greatest complete version; None where there is none."""
    return next(iter(complete_versions(destination, name)), None)


def complete_versions(destination: str, name: str) -> list[str]:
    """The directories of all complete versions, the greatest first."""
    directory = os.path.join(destination, name)
    paths = [os.path.join(directory, str(version))
             for version in sorted(_versions(directory), reverse=True)]
    return [path for path in paths if os.path.isfile(os.path.join(path, SAVED_MODEL))]


def greatest_version(destination: str, name: str) -> int:
    """The greatest version's number, complete or not; 0 where there is none."""
    return max(_versions(os.path.join(destination, name)), default=0)


def _read_verdict(evaluation: str) -> dict:
    path = os.path.join(evaluation, 'metrics.json')
    try:
        with open(path, encoding='utf-8') as file:
            values = json.load(file)
        blessed = values['blessed']
        if blessed not in (True, False) or not isinstance(values['reasons'], list):
            raise ValueError('it has no verdict')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{evaluation} holds no evaluation ({path}: {error!r}): run `mdctr '
                        'evaluate` first.') from None
    failed = [check['reason'] for check in values.get('checks', []) if not check['passed']]
    return {**values, 'failed': failed}


def _check_same_model(model: str, evaluation: str, verdict: dict) -> None:
    """A verdict on another model blesses nothing."""
    evaluated = verdict.get('model', {}).get('digest')
    if evaluated is not None and evaluated != model_digest(model):
        raise UserError(f'The evaluation {evaluation} is of another model than {model}: '
                        'evaluate this one first.')


def _check_golden(model: str) -> None:
    done = subprocess.run([sys.executable, '-m', 'trainer.golden', os.path.abspath(model)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stdout.strip().splitlines() or done.stderr.strip().splitlines()
        why = said[-1] if said else f'the check ended with {done.returncode}'
        raise UserError(f'Not pushed: {why.rstrip(".")}; train and export the model again.')


@contextmanager
def _alone(directory: str) -> Iterator[None]:
    """Waits until no other push to this directory is under way; ends with the process."""
    with open(os.path.join(directory, '.push.lock'), 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_leftovers(directory: str) -> None:
    for name in os.listdir(directory):
        if name.startswith(_TEMPORARY):
            shutil.rmtree(os.path.join(directory, name), ignore_errors=True)


def _copy(model: str, directory: str) -> str:
    """A whole copy beside the versions."""
    copy = tempfile.mkdtemp(prefix=_TEMPORARY, dir=directory)
    os.chmod(copy, 0o755)  # the server may be another user
    # On a store where a rename copies file by file, a server takes the version for ready as
    # soon as this file is there: it is the last to come.
    shutil.copytree(model, copy, dirs_exist_ok=True, ignore=lambda folder, _: (
        [SAVED_MODEL] if os.path.samefile(folder, model) else []))
    shutil.copy2(os.path.join(model, SAVED_MODEL), os.path.join(copy, SAVED_MODEL))
    return copy


def _publish(copy: str, directory: str, expected: int | None) -> int | None:
    """Renames the copy to the next free version, or to that after `expected` alone.

    Returns:
        The version; None where the one after `expected` is taken.
    """
    version = 1 + (max(_versions(directory), default=0) if expected is None else expected)
    while True:
        try:
            # A rename replaces an empty directory and no other: a version that a push from a
            # machine where the lock does not reach took in the meantime makes this fail.
            os.rename(copy, os.path.join(directory, str(version)))
            return version
        except OSError:
            if not os.path.exists(os.path.join(directory, str(version))):
                raise
            if expected is not None:
                shutil.rmtree(copy, ignore_errors=True)
                return None
            version += 1


def _versions(directory: str) -> list[int]:
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(name) for name in names if name.isascii() and name.isdigit()
            and str(int(name)) == name]

"""The directory of a dataset: whether it holds one, writing beside it, putting it in place."""

import contextlib
import os
import shutil
from collections.abc import Iterator

from beam_jobs.dataset import MANIFEST, read_manifest
from beam_jobs.errors import UserError


def local_path(directory: str) -> str:
    """The absolute path of a directory that is to be written.

    Raises:
        UserError: it is an address; a dataset is written to a file system.
    """
    if '://' in directory:
        raise UserError(f'{directory} is an address, and a dataset is written to a directory: '
                        'name one on a file system that all workers share.')
    return os.path.abspath(directory)


def is_built(directory: str, fingerprint: str) -> bool:
    """Whether `directory` holds a complete dataset of this fingerprint.

    Raises:
        UserError: it holds something that is no dataset, and would be overwritten.
    """
    if not os.path.exists(os.path.join(directory, MANIFEST)):
        if os.path.isdir(directory) and os.listdir(directory):
            raise UserError(f'{directory} holds files that are no dataset: name another '
                            'directory, or remove them.')
        if os.path.exists(directory) and not os.path.isdir(directory):
            raise UserError(f'{directory} is a file: name a directory for the dataset.')
        return False
    try:
        return read_manifest(directory).fingerprint == fingerprint
    except UserError:  # of another version of this project: it is built anew
        return False


@contextlib.contextmanager
def writing(directory: str) -> Iterator[None]:
    """Turns what the file system refuses into a sentence about `directory`.

    Raises:
        UserError: for an `OSError` inside the context.
    """
    try:
        yield
    except OSError as error:
        raise UserError(cannot_write(directory, error)) from error


def cannot_write(directory: str, error: OSError) -> str:
    """The sentence for an `OSError`."""
    reason = error.strerror or str(error)
    place = f' at {error.filename}' if error.filename else ''
    return (f'The dataset cannot be written to {directory}: {reason}{place}; free space there, '
            'or name a directory that can be written.')


def restore(directory: str) -> None:
    """Puts back the dataset that `put_in_place` was about to replace when it was killed."""
    old = directory.rstrip('/') + '.old'
    if os.path.isdir(old) and not os.path.exists(directory):
        os.rename(old, directory)


def put_in_place(building: str, directory: str) -> None:
    """Moves a complete dataset to `directory`, over the one that is there."""
    old = directory.rstrip('/') + '.old'
    shutil.rmtree(old, ignore_errors=True)
    if os.path.isdir(directory):
        os.rename(directory, old)
    os.rename(building, directory)
    shutil.rmtree(old, ignore_errors=True)

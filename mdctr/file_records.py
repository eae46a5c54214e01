"""Size and SHA-256 of files, by which a reader notices files that were changed or cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from mdctr import storage
from mdctr.errors import UserError


@dataclass(frozen=True)
class FileRecord:
    """A file of an immutable directory.

    Attributes:
        size: Size in bytes.
        sha256: SHA-256 of its contents, in hexadecimal digits.
        version: Fingerprint of the version of the dataset whose directory contains the file;
            '' for the directory itself.
    """

    size: int
    sha256: str
    version: str = ''


def record_files(directory: str, names: Iterable[str]) -> dict[str, FileRecord]:
    """Reads files and records their sizes and digests.

    Args:
        directory: Directory of the files.
        names: Paths of the files in it.
    """
    records = {}
    for name in names:
        path = storage.join(directory, name)
        records[name] = FileRecord(storage.size(path), storage.file_digest(path))
    return records


def check_size(path: str, record: FileRecord) -> None:
    """Compares the size of a file with its record.

    Raises:
        UserError: The file does not exist or has another size.
    """
    try:
        size = storage.size(path)
    except (FileNotFoundError, NotADirectoryError):
        raise _damaged(path, 'it is missing') from None
    if size != record.size:
        raise _damaged(path, f'it has {size:,} bytes instead of {record.size:,}')


def check_contents(path: str, record: FileRecord) -> None:
    """Compares the contents of a file with its record.

    Raises:
        UserError: The file does not exist or has other contents.
    """
    check_size(path, record)
    if storage.file_digest(path) != record.sha256:
        raise _damaged(path, 'its contents have changed')


def read_checked(path: str, record: FileRecord) -> bytes:
    """Reads a file and compares its contents with its record.

    Raises:
        UserError: The file does not exist or has other contents.
    """
    check_size(path, record)
    data = storage.read_bytes(path)
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise _damaged(path, 'its contents have changed')
    return data


def _damaged(path: str, problem: str) -> UserError:
    return UserError(
        f'{path} is damaged ({problem}): restore the file, or remove the directory of its '
        'version and build the dataset again.'
    )

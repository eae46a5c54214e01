"""Digests of directories."""

import hashlib

from mdctr import storage


def directory_digest(directory: str) -> str:
    """The SHA-256 of the names and contents of all files below a directory."""
    digest = hashlib.sha256()
    for name in storage.list_files(directory):
        digest.update(name.encode() + b'\0')
        digest.update(bytes.fromhex(storage.file_digest(storage.join(directory, name))))
    return digest.hexdigest()

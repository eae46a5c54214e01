"""A full disk and a read-only one, for tests."""

import contextlib
import os
import resource
from collections.abc import Iterator

import pytest

from mdctr import storage


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Context in which files may not grow beyond a size: writing fails as on a full disk.

    Args:
        limit: Size in bytes.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refuse_writes(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Makes every write to a workspace fail with an error of a number, such as EROFS."""

    def refuse(path: str) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(storage, '_before_write', refuse)

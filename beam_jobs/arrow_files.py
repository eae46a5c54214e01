"""Arrow files, written atomically and read by memory mapping."""

import functools
import os
import tempfile
import threading

import pyarrow as pa

from mdctr import storage

_fetching = threading.Lock()


def write_arrow(path: str, table: pa.Table) -> None:
    """Writes `table` as an Arrow file, atomically."""
    with (
        storage.atomic_file(path) as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)


def read_arrow(path: str) -> pa.Table:
    """The table that `write_arrow` wrote.

    It is mapped, so that the processes of a machine share the pages of a local file; that of an
    object store is copied to a temporary file first, whose space is free once the table is.
    """
    if not storage.is_url(path):
        return _mapped(path)
    with tempfile.TemporaryDirectory() as local:
        storage.download(storage.parent(path), local, [storage.name(path)])
        return _mapped(os.path.join(local, storage.name(path)))  # the map outlives the name


def fetch_arrow(path: str) -> pa.Table:
    """The table of a file that this process may read many times, and nobody changes.

    That of an object store is copied once and kept until `release_fetched`.
    """
    if not storage.is_url(path):
        return _mapped(path)
    with _fetching:  # rather than once in each thread
        return _fetched(path)


def release_fetched() -> None:
    """Forgets all tables that `fetch_arrow` keeps."""
    _fetched.cache_clear()


@functools.cache
def _fetched(path: str) -> pa.Table:
    return read_arrow(path)


def _mapped(path: str) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(path)).read_all()

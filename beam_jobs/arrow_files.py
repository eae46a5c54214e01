"""Arrow files, written atomically and read by memory mapping.

A file that is searched, such as a lookup, is not compressed, so that the processes of a machine
share its pages and read only those that they need. The rows that an extendable dataset keeps
are read once, and all of them: they are compressed. On 400,000 simulated rows of 13 columns
(preset ctnet-abc) they take 23 bytes a row instead of 72; to write a row takes 0.24
microseconds instead of 0.06, and to read it 0.13 instead of 0.02, where a build takes tens.
"""

import functools
import os
import tempfile
import threading

import pyarrow as pa

from mdctr import storage
from mdctr.file_records import FileRecord, read_checked

_fetching = threading.Lock()


def write_arrow(path: str, table: pa.Table, compressed: bool = False) -> None:
    """Writes `table` as an Arrow file, atomically.

    Args:
        path: Path of the file.
        table: Rows.
        compressed: Whether the buffers are compressed; they are then read into memory.
    """
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec('zstd', 1) if compressed else None)
    with (
        storage.atomic_file(path) as file,
        pa.ipc.new_file(file, table.schema, options=options) as writer,
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


def read_checked_arrow(path: str, record: FileRecord) -> pa.Table:
    """The table of a file whose contents are compared with their record.

    Raises:
        UserError: The file does not exist or has other contents.
    """
    return pa.ipc.open_file(pa.py_buffer(read_checked(path, record))).read_all()


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

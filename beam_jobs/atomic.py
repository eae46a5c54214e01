"""Files that appear under their names when they are whole, so that a retry does no harm."""

import os
import uuid

import pyarrow as pa


class Temporary:
    """A file that appears under its name only when it is closed to be kept."""

    def __init__(self, path: str):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._path, self._temporary = path, f'{path}.{uuid.uuid4().hex}.tmp'
        self.file = open(self._temporary, 'wb')  # noqa: SIM115 (closed by `close`)

    def close(self, keep: bool) -> None:
        """Puts the file in its place, or removes it."""
        try:
            self.file.close()  # writes what is left: a full disk can show itself here
            if keep:
                os.replace(self._temporary, self._path)
        except OSError:
            if keep:
                raise
        finally:
            if os.path.exists(self._temporary):
                os.remove(self._temporary)


def write_text(path: str, text: str) -> None:
    """Writes a UTF-8 file in one step."""
    temporary = Temporary(path)
    try:
        temporary.file.write(text.encode())
    except BaseException:
        temporary.close(keep=False)
        raise
    temporary.close(keep=True)


def write_arrow(path: str, table: pa.Table) -> None:
    """Writes `table` as an Arrow file, in one step."""
    temporary = Temporary(path)
    try:
        with pa.ipc.new_file(temporary.file, table.schema) as file:
            file.write_table(table)
    except BaseException:
        temporary.close(keep=False)
        raise
    temporary.close(keep=True)


def read_arrow(path: str) -> pa.Table:
    """The table of `write_arrow`, mapped rather than read: workers share its pages."""
    return pa.ipc.open_file(pa.memory_map(path)).read_all()

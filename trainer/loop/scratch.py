"""Local files of a training run that are copied to its directory in the workspace.

TensorFlow writes checkpoints and event files to local disks only. If the workspace is on an
object store, they are written to a scratch directory and copied as they are produced. In a
local workspace, they are written where they belong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable

from mdctr import storage


class Scratch:
    """A local directory with the files of a directory in the workspace.

    Args:
        directory: Directory in the workspace.

    Attributes:
        directory: Directory in the workspace.
        local: Local directory; `directory` itself if it is local.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.local = directory
        self._temporary = None
        if storage.is_url(directory):
            self._temporary = tempfile.TemporaryDirectory(prefix='mdctr-')
            self.local = self._temporary.name

    def path(self, name: str) -> str:
        """The path of a file in the workspace."""
        return storage.join(self.directory, name)

    def download(self) -> None:
        """Copies the files of the workspace to the local directory."""
        if self._temporary is not None:
            storage.download(self.directory, self.local)

    def check(self) -> None:
        """Makes sure that this process may still write to the directory.

        Raises:
            UserError: It has lost its lease.
        """
        storage.check_write(self.path(''))

    def upload(self, selected: Callable[[str], bool] = lambda name: True) -> None:
        """Copies the selected local files to the workspace, in the order of their names."""
        if self._temporary is not None:
            for name in storage.list_files(self.local):
                if selected(name):
                    storage.upload_file(storage.join(self.local, name), self.path(name))

    def remove(self, name: str) -> None:
        """Removes a file in both places."""
        storage.remove(storage.join(self.local, name))
        if self._temporary is not None:
            storage.remove(self.path(name))

    def remove_others(self, selected: Callable[[str], bool]) -> None:
        """Removes the selected files of the workspace that do not exist locally any more."""
        if self._temporary is not None:
            local = set(storage.list_files(self.local))
            for name in storage.list_files(self.directory):
                if selected(name) and name not in local:
                    storage.remove(self.path(name))

    def close(self) -> None:
        """Removes the scratch directory."""
        if self._temporary is not None:
            self._temporary.cleanup()

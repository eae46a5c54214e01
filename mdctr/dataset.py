"""A complete version of a dataset: its directory, its manifest and its files."""

from __future__ import annotations

import functools
import os
import tempfile
from dataclasses import dataclass

from mdctr import storage
from mdctr.dataset_versions import version_directory
from mdctr.errors import UserError
from mdctr.file_records import FileRecord, check_contents, check_size, read_checked
from mdctr.manifest import Manifest, read_manifest, split_directory, vocabulary_path


@dataclass(frozen=True)
class Dataset:
    """A version whose manifest has been read, to be passed on instead of a directory.

    A version of an extended dataset refers to files of earlier versions: only `path` and the
    methods that use it know where a file is.

    Attributes:
        directory: Directory of the version.
        manifest: Its manifest.
    """

    directory: str
    manifest: Manifest

    def __str__(self) -> str:
        return self.directory

    def path(self, name: str) -> str:
        """The path of a file of the dataset, such as `statistics/train.pb`."""
        record = self.manifest.files.get(name)
        if record is None or not record.version:
            return storage.join(self.directory, name)
        return storage.join(storage.parent(self.directory), record.version, name)

    def example_files(self, split: str) -> list[str]:
        """The paths of the example files of a split; [] if it has no examples.

        Raises:
            UserError: A file is missing or does not have the size that it was built with.
        """
        paths = []
        for name in self._example_names(split):
            check_size(self.path(name), self.manifest.files[name])
            paths.append(self.path(name))
        return paths

    def has_vocabulary(self, name: str) -> bool:
        """Whether there is a vocabulary called `name`."""
        return _vocabulary_file(name) in self.manifest.files

    def read_file(self, name: str) -> bytes:
        """The contents of a file of the dataset, such as `statistics/train.pb`.

        Raises:
            UserError: The file is missing, or has changed since it was built.
        """
        return read_checked(self.path(name), self._record(name))

    def vocabulary_bytes(self, name: str) -> bytes:
        """The file of the vocabulary called `name`: one value a line.

        Raises:
            UserError: The file is missing, or has changed since it was built.
        """
        return self.read_file(_vocabulary_file(name))

    def vocabulary(self, name: str) -> list[str]:
        """The values of the vocabulary called `name`; the value at index n has the id n + 1.

        Raises:
            UserError: The file is missing, or has changed since it was built.
        """
        return self.vocabulary_bytes(name).decode().split('\n')[:-1]

    def local_vocabulary(self, name: str) -> str:
        """The path of a local file with the vocabulary called `name`.

        The file of an object store is copied; the copy exists as long as this process.

        Raises:
            UserError: The file is missing, or has changed since it was built.
        """
        path = self.path(_vocabulary_file(name))
        if not storage.is_url(path):
            check_contents(path, self._record(_vocabulary_file(name)))
            return path
        copy = os.path.join(_scratch().name, self.manifest.fingerprint, f'{name}.txt')
        storage.write_bytes(copy, self.vocabulary_bytes(name))
        return copy

    def verify_vocabularies(self) -> None:
        """Compares the contents of all vocabularies with the manifest.

        Raises:
            UserError: A file is missing, or has changed since it was built.
        """
        for name, record in self.manifest.files.items():
            if name.startswith('vocabulary/'):
                check_contents(self.path(name), record)

    def verify(self) -> int:
        """Compares the contents of all files with the manifest; returns the number of bytes.

        Raises:
            UserError: A file is missing or has changed.
        """
        for name, record in self.manifest.files.items():
            check_contents(self.path(name), record)
        return sum(record.size for record in self.manifest.files.values())

    def _example_names(self, split: str) -> list[str]:
        prefix = split_directory('', split) + '/'
        return [
            name
            for name in self.manifest.files
            if name.startswith(prefix) and storage.name(name).startswith('part-')
        ]

    def _record(self, name: str) -> FileRecord:
        record = self.manifest.files.get(name)
        if record is None:
            raise UserError(
                f'The manifest of the dataset {self} does not list {name}: build it again.'
            )
        return record


def open_dataset(dataset: str | Dataset) -> Dataset:
    """Opens a dataset; returns one that is already open unchanged.

    Args:
        dataset: Directory of a dataset, whose current version is opened, or of a version.

    Raises:
        UserError: The directory does not contain a complete dataset of this format.
    """
    if isinstance(dataset, Dataset):
        return dataset
    directory = version_directory(dataset)
    return Dataset(directory, read_manifest(directory))


def _vocabulary_file(name: str) -> str:
    return vocabulary_path('', name)


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()

"""The example files of a dataset: Parquet, with a table of the domains in its metadata.

The rows of a domain are adjacent, and domains ascend. A domain of many rows has row groups of
its own; consecutive domains of few rows share one. The key-value metadata `mdctr.domains` is a
JSON list of `[domain, first row, number of rows]`, so that a reader finds the rows of a domain
without reading those of others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mdctr import storage
from mdctr.errors import UserError

DOMAINS_KEY = 'mdctr.domains'
_SUFFIX = '.parquet'
_THREADS = 8  # that read footers, each of which is a request to an object store


class DomainRows(NamedTuple):
    """Rows [first, first + rows) of a file, all of one domain."""

    domain: int
    first: int
    rows: int


@dataclass(frozen=True)
class ExampleFile:
    """An example file whose footer has been read.

    Attributes:
        path: Path of the file.
        metadata: Its footer.
        domains: The rows of each domain, in the order of the file.
        bounds: First row of each row group, and the number of rows, int64 [groups + 1].
    """

    path: str
    metadata: pq.FileMetaData = field(repr=False, compare=False)
    domains: tuple[DomainRows, ...] = field(repr=False, compare=False)
    bounds: NDArray[np.int64] = field(repr=False, compare=False)

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return list(self.metadata.schema.to_arrow_schema().names)

    @staticmethod
    def open(path: str) -> ExampleFile:
        """Reads the footer of a file.

        Raises:
            UserError: The file is damaged or is not an example file.
            FileNotFoundError: The file does not exist.
        """
        with _reporting_damage(path), storage.open_file(path) as file:
            metadata = pq.ParquetFile(file).metadata
            table = json.loads(metadata.metadata[DOMAINS_KEY.encode()])
            sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
            bounds = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
            return ExampleFile(path, metadata, tuple(DomainRows(*row) for row in table), bounds)

    def read(
        self, columns: Sequence[str], first: int = 0, last: int | None = None
    ) -> Iterator[tuple[int, pa.Table]]:
        """Yields rows [first, last), a row group or a part of one at a time.

        Args:
            columns: Names of the columns.
            first: First row.
            last: Row after the last; the end of the file by default.

        Yields:
            The number of the first row, and the rows.

        Raises:
            UserError: The file is damaged or is not of this dataset.
        """
        last = int(self.bounds[-1]) if last is None else last
        if first >= last:
            return
        begin = int(np.searchsorted(self.bounds, first, side='right')) - 1
        end = int(np.searchsorted(self.bounds, last, side='left'))
        with _reporting_damage(self.path), storage.open_file(self.path) as source:
            file = pq.ParquetFile(source, metadata=self.metadata, pre_buffer=True)
            if missing := set(columns) - set(file.schema_arrow.names):
                raise KeyError(f'no column {min(missing)}')
            for group in range(begin, end):
                start, stop = self.bounds[group : group + 2].tolist()
                rows = file.read_row_group(group, columns=list(columns))
                rows = rows.slice(max(first - start, 0), min(last, stop) - max(first, start))
                yield max(first, start), rows


def example_file_name(bucket: int, buckets: int) -> str:
    """The name of the file of a user bucket."""
    return f'part-{bucket:05d}-of-{buckets:05d}{_SUFFIX}'


def open_example_files(paths: Sequence[str]) -> list[ExampleFile]:
    """Opens example files.

    Raises:
        UserError: One of the files is damaged.
    """
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(ExampleFile.open, paths))


class _reporting_damage:
    """Turns errors of Parquet's decoder into a sentence about the file at `path`."""

    def __init__(self, path: str):
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        # Arrow's own errors have no number; those with one are of the file system.
        if isinstance(error, OSError) and error.errno is not None:
            return
        if isinstance(error, (OSError, pa.ArrowException, ValueError, KeyError, TypeError)):
            reason = str(error.args[0] if error.args else error).splitlines()[0].rstrip('.')
            raise UserError(
                f'{self._path} is damaged or is not of this dataset ({reason}): build the '
                'dataset again.'
            ) from error

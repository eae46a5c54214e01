"""Writes examples as a Parquet file whose bytes depend only on the rows.

`mdctr.example_files` describes the file and reads it.
"""

import hashlib
import itertools
import json
from collections.abc import Callable
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mdctr.example_files import DOMAINS_KEY
from mdctr.runs import run_starts

# Rows of a row group. A reader decodes whole groups, so those that several domains share are
# small: whoever reads one of these domains decodes the others too.
_GROUP_ROWS = 1 << 15
_SHARED_GROUP_ROWS = 1 << 13
# Readers that filter use the ranges of these; those of ids would only enlarge the footer.
_WITH_STATISTICS = ['domain', 'timestamp']


def write_examples(
    file: IO[bytes], domain: np.ndarray, rows: Callable[[int, int], pa.Table]
) -> str:
    """Writes a file of examples.

    Args:
        file: Binary file to write to.
        domain: Domain id of each example, ascending, at least one, `int[examples]`.
        rows: Function that returns the examples from one row to another.

    Returns:
        The SHA-256 of the file, in hexadecimal digits.
    """
    bounds, table = row_groups(domain), domain_table(domain)
    sink, writer = _Hashing(file), None
    try:
        for first, last in itertools.pairwise(bounds):
            examples = rows(first, last)
            if writer is None:
                schema = examples.schema.with_metadata({DOMAINS_KEY: json.dumps(table)})
                writer = _writer(sink, schema)
            writer.write_table(examples, row_group_size=last - first)
    finally:
        if writer is not None:
            writer.close()
    return sink.digest.hexdigest()


def row_groups(domain: np.ndarray) -> list[int]:
    """The first row of each row group, and the number of rows.

    Consecutive domains share a group while they are small. A larger domain has groups of its
    own, of nearly equal size.

    Args:
        domain: Domain id of each row, ascending, `int[rows]`.
    """
    first = [*run_starts(domain).tolist(), len(domain)]
    bounds = [0]
    for begin, end in itertools.pairwise(first):
        if end - bounds[-1] <= _SHARED_GROUP_ROWS:
            continue  # joins the group that has begun
        if begin > bounds[-1]:
            bounds.append(begin)
        if end - begin > _SHARED_GROUP_ROWS:
            parts = -(-(end - begin) // _GROUP_ROWS)
            bounds += [begin + (end - begin) * n // parts for n in range(1, parts + 1)]
    return bounds if bounds[-1] == len(domain) else [*bounds, len(domain)]


def domain_table(domain: np.ndarray) -> list[list[int]]:
    """The `[domain, first row, rows]` of each domain.

    Args:
        domain: Domain id of each row, ascending, `int[rows]`.
    """
    first = run_starts(domain)
    rows = np.diff(np.append(first, len(domain)))
    return np.stack([domain[first], first, rows], axis=1).tolist()


def _writer(sink: '_Hashing', schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        pa.PythonFile(sink, mode='w'),
        schema,
        compression='zstd',
        compression_level=1,  # on ids, higher ones save a percent and take twice as long
        write_statistics=_WITH_STATISTICS,
    )


class _Hashing:
    """A file that hashes what is written to it."""

    closed = False

    def __init__(self, file: IO[bytes]):
        self._file, self._size, self.digest = file, 0, hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Writes and hashes bytes."""
        self.digest.update(data)
        self._size += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        """The number of bytes written."""
        return self._size

    def flush(self) -> None:
        """Flushes the file."""
        self._file.flush()

    def close(self) -> None:
        """Leaves the file open, which whoever opened it closes."""

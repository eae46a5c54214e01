"""Where the rows of each domain are in the example files of a split, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mdctr.example_files import ExampleFile, open_example_files
from mdctr.manifest import Feature
from trainer.data.columns import Columns, column_names, decode


class ExampleRange(NamedTuple):
    """Adjacent rows of one domain in a file.

    Attributes:
        file: File.
        first: Number of the first row.
        rows: Number of rows.
    """

    file: ExampleFile
    first: int
    rows: int


@dataclass(frozen=True)
class DomainRanges:
    """The rows to read, by domain, and the features to decode.

    Attributes:
        ranges: Ranges by domain id, in the order of the files.
        features: Features to decode.
    """

    ranges: Mapping[int, Sequence[ExampleRange]]
    features: Sequence[Feature]

    @property
    def domains(self) -> list[int]:
        """The ids of the domains that have rows, ascending."""
        return sorted(self.ranges)

    def count(self, domain: int) -> int:
        """Returns the number of rows of a domain."""
        return sum(part.rows for part in self.ranges.get(domain, ()))


def split_ranges(paths: Sequence[str]) -> dict[int, list[ExampleRange]]:
    """Returns the ranges of a split by domain id.

    Args:
        paths: Paths of the split's example files.

    Raises:
        UserError: A file is damaged.
    """
    ranges: dict[int, list[ExampleRange]] = {}
    for file in open_example_files(paths):
        for domain, first, rows in file.domains:
            ranges.setdefault(domain, []).append(ExampleRange(file, first, rows))
    return ranges


def scan(
    ranges: Sequence[ExampleRange], columns: Sequence[str]
) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """Yields the rows of ranges, reading and decoding each row group once.

    Args:
        ranges: Ranges, none of which overlap.
        columns: Names of the columns.

    Yields:
        The positions of rows, counted through the ranges, int64 [rows]; and the rows.
    """
    by_file: dict[str, list[tuple[int, ExampleRange]]] = {}
    before = 0
    for part in ranges:
        by_file.setdefault(part.file.path, []).append((before, part))
        before += part.rows
    for parts in by_file.values():
        begin = min(part.first for _, part in parts)
        end = max(part.first + part.rows for _, part in parts)
        positions = np.full(end - begin, -1)
        for start, part in parts:
            first = part.first - begin
            positions[first : first + part.rows] = np.arange(start, start + part.rows)
        wanted = positions >= 0
        for first, last in _wanted_spans(parts[0][1].file, wanted, begin):
            for row, rows in parts[0][1].file.read(columns, first, last):
                here = slice(row - begin, row - begin + rows.num_rows)
                if not wanted[here].all():
                    rows = rows.filter(pa.array(wanted[here]))
                yield positions[here][wanted[here]], rows


def read_rows(ranges: Sequence[ExampleRange], features: Sequence[Feature]) -> Columns:
    """Returns the decoded rows of ranges, in their order."""
    columns = Columns.empty(sum(part.rows for part in ranges), features)
    for positions, rows in scan(ranges, column_names(features)):
        first, last = int(positions[0]), int(positions[-1])
        if last - first + 1 == len(positions) and (np.diff(positions) == 1).all():
            decode(rows, features, columns.take(slice(first, last + 1)))
        else:
            part = Columns.empty(len(positions), features)
            decode(rows, features, part)
            columns.put(positions, part)
    return columns


def _wanted_spans(
    file: ExampleFile, wanted: np.ndarray, begin: int
) -> Iterator[tuple[int, int]]:
    """Yields rows [first, last) that cover the wanted ones, without row groups that have none.

    Args:
        file: File.
        wanted: Which rows are wanted, bool, of the rows from `begin` on.
        begin: First row.
    """
    before = np.concatenate([[0], np.cumsum(wanted)])
    bounds = np.clip(file.bounds - begin, 0, len(wanted))
    has_some = np.diff(before[bounds]) > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], has_some.view(np.int8), [0]])))
    for first, last in edges.reshape(-1, 2).tolist():
        yield int(bounds[first]) + begin, int(bounds[last]) + begin

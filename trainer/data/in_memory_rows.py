"""Rows that are decoded once and kept in memory."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from trainer.data.batching import MIXED, batch_boundaries, row_permutation, shuffle_generator
from trainer.data.columns import Columns
from trainer.data.example_ranges import DomainRanges, read_rows
from trainer.data.row_source import MixedRows, RowSource


class InMemoryRows(RowSource):
    """Rows in one block, whose slices are the domains.

    Args:
        counts: Number of rows of each domain.
        read: Function that returns the rows, domain by domain, at first use.
    """

    def __init__(self, counts: Mapping[int, int], read: Callable[[], Columns]):
        self._counts = {domain: counts[domain] for domain in sorted(counts)}
        self._read = read
        ends = itertools.accumulate(self._counts.values())
        self._slices = {
            domain: slice(end - count, end)
            for (domain, count), end in zip(self._counts.items(), ends, strict=True)
        }

    @staticmethod
    def of(source: DomainRanges) -> InMemoryRows:
        """Returns the rows of files, which are read at first use."""
        ranges = [part for domain in source.domains for part in source.ranges[domain]]
        return InMemoryRows(
            {domain: source.count(domain) for domain in source.domains},
            lambda: read_rows(ranges, source.features),
        )

    def domain_batches(
        self, domain: int, epoch: int, size: int, seed: int, start: int
    ) -> Iterator[Columns]:
        rows = self._all.take(self._slices[domain])
        order = row_permutation(len(rows), seed, epoch, domain)
        for begin, end in itertools.pairwise(batch_boundaries(len(rows), size)[start:]):
            yield rows.take(order[begin:end])

    def mixed_batches(
        self, epoch: int, size: int, seed: int, start: int
    ) -> Iterator[MixedRows]:
        domain = np.repeat(np.array([*self._counts], np.int32), [*self._counts.values()])
        order = shuffle_generator(seed, epoch, MIXED).permutation(len(domain))
        for begin, end in itertools.pairwise(batch_boundaries(len(domain), size)[start:]):
            chosen = order[begin:end]
            yield MixedRows(self._all.take(chosen), domain[chosen])

    def in_order(self, domain: int) -> Iterator[Columns]:
        yield self._all.take(self._slices[domain])

    @functools.cached_property
    def _all(self) -> Columns:
        return self._read()

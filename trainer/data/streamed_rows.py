"""Rows that are read and decoded in every epoch, in bounded memory."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator

import numpy as np

from trainer.data.batching import (
    RANGES,
    batch_boundaries,
    num_batches,
    row_permutation,
    shuffle_generator,
)
from trainer.data.columns import Columns, bytes_per_row, column_names, decode
from trainer.data.example_ranges import DomainRanges, ExampleRange, scan
from trainer.data.in_memory_rows import InMemoryRows
from trainer.data.row_source import MixedRows, RowSource

_SIDE_BY_SIDE = 4  # ranges that a chunk interleaves
_IN_TURN = 1024  # rows taken from each of these in turn


class StreamedRows(RowSource):
    """Reads each domain through a bounded chunk of whole batches, which is shuffled as a whole.

    Domains that fit into a chunk are kept in memory: their files' row groups hold several
    domains, and are thus decoded once.

    Args:
        source: Rows and features to decode.
        memory: Bytes that decoded rows may take.
    """

    def __init__(self, source: DomainRanges, memory: int):
        self._source = source
        share = memory / 2 / bytes_per_row(source.features) / max(1, len(source.ranges))
        self._rows_per_chunk = max(1, int(share))
        self._small = {
            domain: ranges
            for domain, ranges in source.ranges.items()
            if source.count(domain) <= self._rows_per_chunk
        }
        self._in_memory = InMemoryRows.of(DomainRanges(self._small, source.features))

    def domain_batches(
        self, domain: int, epoch: int, size: int, seed: int, start: int
    ) -> Iterator[Columns]:
        if domain in self._small:
            yield from self._in_memory.domain_batches(domain, epoch, size, seed, start)
            return
        batches_per_chunk = max(1, self._rows_per_chunk // size)
        ranges = self._source.ranges[domain]
        order = shuffle_generator(seed, epoch, RANGES, domain).permutation(len(ranges))
        boundaries = batch_boundaries(self._source.count(domain), size)
        rows = RowQueue(_interleaved([self._blocks(ranges[n]) for n in order.tolist()]))
        first_chunk = start // batches_per_chunk
        rows.skip(boundaries[min(first_chunk * batches_per_chunk, len(boundaries) - 1)])
        for number in itertools.count(first_chunk):
            first = number * batches_per_chunk
            chunk = boundaries[first : first + batches_per_chunk + 1]
            if len(chunk) < 2:
                return
            decoded = rows.next(chunk[-1] - chunk[0])
            order = row_permutation(len(decoded), seed, epoch, domain, number)
            for begin, end in itertools.pairwise(chunk[max(0, start - first) :]):
                yield decoded.take(order[begin - chunk[0] : end - chunk[0]])

    def mixed_batches(
        self, epoch: int, size: int, seed: int, start: int
    ) -> Iterator[MixedRows]:
        """Yields batches with the domains in proportion to their rows, to within a row."""
        domains = self._source.domains
        counts = np.array([self._source.count(domain) for domain in domains])
        batches = num_batches(int(counts.sum()), size)

        def taken_by(batch: int) -> np.ndarray:
            return counts * min(batch, batches) // batches

        sources = []
        for domain, taken in zip(domains, taken_by(start).tolist(), strict=True):
            boundaries = batch_boundaries(self._source.count(domain), size)
            first = bisect.bisect_right(boundaries, taken) - 1
            sources.append(RowQueue(self.domain_batches(domain, epoch, size, seed, first)))
            sources[-1].skip(taken - boundaries[first])
        for batch in range(start, batches):
            wanted = (taken_by(batch + 1) - taken_by(batch)).tolist()
            parts = [
                (source.next(count), domain)
                for source, count, domain in zip(sources, wanted, domains, strict=True)
                if count
            ]
            if parts:
                yield MixedRows(
                    Columns.concatenate([rows for rows, _ in parts]),
                    np.concatenate(
                        [np.full(len(rows), domain, np.int32) for rows, domain in parts]
                    ),
                )

    def in_order(self, domain: int) -> Iterator[Columns]:
        if domain in self._small:
            return self._in_memory.in_order(domain)
        return itertools.chain.from_iterable(map(self._blocks, self._source.ranges[domain]))

    def _blocks(self, part: ExampleRange) -> Iterator[Columns]:
        """Decodes a range, row group by row group."""
        features = self._source.features
        for _, rows in scan([part], column_names(features)):
            columns = Columns.empty(rows.num_rows, features)
            decode(rows, features, columns)
            yield columns


class RowQueue:
    """Takes any number of rows at a time from an iterator of blocks."""

    def __init__(self, blocks: Iterator[Columns]):
        self._blocks = blocks
        self._block: Columns | None = None

    def next(self, rows: int) -> Columns:
        """Returns the next rows, at least one unless the iterator has ended.

        Args:
            rows: Number of rows.
        """
        return Columns.concatenate(list(self.parts(rows)))

    def parts(self, rows: int) -> Iterator[Columns]:
        """Yields the next rows as parts of blocks; fewer rows at the end.

        Args:
            rows: Number of rows.
        """
        while rows and (block := self._block or next(self._blocks, None)) is not None:
            part = block.take(slice(0, rows))
            self._block = block.take(slice(rows, None))
            rows -= len(part)
            yield part

    def skip(self, rows: int) -> None:
        """Skips the next rows.

        Args:
            rows: Number of rows.
        """
        for _ in self.parts(rows):
            pass


def _interleaved(sources: list[Iterator[Columns]]) -> Iterator[Columns]:
    """Yields the rows of several sources, `_IN_TURN` of each in turn."""
    waiting = map(RowQueue, sources)
    active: list[RowQueue] = []
    while True:
        active += itertools.islice(waiting, _SIDE_BY_SIDE - len(active))
        if not active:
            return
        for source in list(active):
            parts = list(source.parts(_IN_TURN))
            if not parts:
                active.remove(source)
            yield from parts

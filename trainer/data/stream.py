"""Streaming training: every row once, in order of time through a shuffle buffer (STAR 4.4).

The domains' shares change over time, which destabilizes a model that is trained in the plain
order of time. Rows therefore enter a buffer of bounded size in order of time and leave it at
random: the buffer is a window that slides over the history, and a batch is a sample of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from trainer.data.batching import Batch, BatchKind, batch_boundaries, num_batches
from trainer.data.columns import Columns
from trainer.data.examples import Examples
from trainer.data.time_order import TimeOrder


class RowReferences(NamedTuple):
    """References to rows that are in the buffer, or leave it.

    Attributes:
        split: Position of each row's split in order of time, int32 [rows].
        row: Position of each row in the split's order of time, int64 [rows].
        domain: Domain of each row, int32 [rows].
        slot: Where the row is stored while it is in the buffer, int64 [rows].
    """

    split: np.ndarray
    row: np.ndarray
    domain: np.ndarray
    slot: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, positions: np.ndarray | slice) -> RowReferences:
        """Returns the references at some positions."""
        return RowReferences(*(values[positions] for values in self))

    def put(self, positions: np.ndarray | slice, rows: RowReferences) -> None:
        """Overwrites the references at some positions."""
        for values, new in zip(self, rows, strict=True):
            values[positions] = new

    @staticmethod
    def empty(rows: int) -> RowReferences:
        """Returns references with undefined contents."""
        kinds = (np.int32, np.int64, np.int32, np.int64)
        return RowReferences(*(np.empty(rows, kind) for kind in kinds))

    @staticmethod
    def concatenate(parts: Sequence[RowReferences]) -> RowReferences:
        """Concatenates references."""
        return RowReferences(*map(np.concatenate, zip(*parts, strict=True)))


class Stream:
    """Batches of the rows of splits, in order of time except for a shuffle buffer.

    Rows are read when they enter the buffer (`TimeOrder`), and memory holds the decoded rows of
    the buffer and of one period.

    A batch depends only on the arguments. `start` skips batches without reading their rows'
    features, so that a resumed run neither repeats nor loses a row.

    Args:
        examples: Examples whose rows are streamed, each exactly once; their splits are read in
            order of their days.
        rows: Size of the buffer in rows. It should be many times the batch size; for batches of
            one domain, well above the batch size times the number of domains.
        seed: Random seed of the shuffling.

    Attributes:
        splits: Names of the splits, in order of time.
        held: Number of rows that are in the buffer now.
    """

    def __init__(self, examples: Examples, rows: int, seed: int = 0):
        days = examples.manifest.splits
        self.splits = sorted(examples.splits, key=lambda split: days[split].days)
        self.held = 0
        self._examples, self._seed = examples, seed
        self._capacity = min(rows, len(examples))
        self._orders: dict[int, TimeOrder] = {}

    def batches(self, size: int, kind: BatchKind = 'domain', start: int = 0) -> Iterator[Batch]:
        """Yields every row once.

        Mixed batches, and those of a domain, are of nearly equal size. Batches are smaller if a
        domain is so rare that a batch of its rows would take longer than a whole buffer. A
        batch of one domain has a single row only if the domain has no other row, or if the
        buffer is full of single rows of different domains.

        Args:
            size: Maximum rows of a batch.
            kind: `domain` or `mixed`, as for `Examples.epoch`.
            start: Number of batches to skip.
        """
        window = self._window()
        stored = Columns.empty(self._capacity, self._examples.features)
        for number, rows in enumerate(self._references(window, size, kind)):
            if number < start:
                continue
            unread = window.arrivals.unread
            if number == start:  # what is in the buffer has entered at any time
                unread = [rows, *window.contents()]
            if unread:
                self._read(RowReferences.concatenate(unread), stored)
            domain = rows.domain if kind == 'mixed' else rows.domain[0]
            yield self._examples.batch(stored.take(rows.slot), domain)

    def references(
        self, size: int, kind: Literal['domain', 'mixed']
    ) -> Iterator[RowReferences]:
        """Yields references to the rows of each batch; arguments as for `batches`."""
        return self._references(self._window(), size, kind)

    def _references(
        self, window: _Window, size: int, kind: BatchKind
    ) -> Iterator[RowReferences]:
        for rows in window.mixed(size) if kind == 'mixed' else window.by_domain(size):
            self.held = window.held
            yield rows
            window.arrivals.release(rows)
            window.arrivals.unread.clear()
            for split in sorted(self._orders)[:-1]:  # all their rows have entered
                del self._orders[split]
        self.held = 0

    def _window(self) -> _Window:
        examples = self._examples
        counts = [
            sum(part.rows for ranges in examples.ranges(split).values() for part in ranges)
            for split in self.splits
        ]
        return _Window(
            np.random.Generator(np.random.Philox(np.random.SeedSequence(self._seed))),
            _Arrivals(counts, lambda split: self._order(split).domain, self._capacity),
            {domain: examples.count(domain) for domain in examples.domains},
            self._capacity,
        )

    def _read(self, rows: RowReferences, stored: Columns) -> None:
        """Reads rows into their slots."""
        for split in np.unique(rows.split).tolist():
            of_split = rows.take(rows.split == split)
            stored.put(of_split.slot, self._order(split).take(of_split.row))

    def _order(self, split: int) -> TimeOrder:
        if split not in self._orders:
            self._orders[split] = TimeOrder(self._examples, self.splits[split], self._seed)
        return self._orders[split]


class _Window:
    """The rows that have entered and not left.

    Args:
        generator: Random generator of the draws.
        arrivals: All rows, in order of time.
        counts: Number of rows of each domain.
        capacity: Maximum number of rows in the window.

    Attributes:
        held: Number of rows that were in the window when the last batch was drawn.
    """

    def __init__(
        self,
        generator: np.random.Generator,
        arrivals: _Arrivals,
        counts: dict[int, int],
        capacity: int,
    ):
        self.held, self.arrivals = 0, arrivals
        self._counts, self._capacity = counts, capacity
        self._buffer = _ShuffleBuffer(generator, capacity)
        self._pending: dict[int, _PendingRows] = {}

    def contents(self) -> list[RowReferences]:
        """Returns references to the rows in the window, in parts."""
        return [self._buffer.contents(), *(rows.contents for rows in self._pending.values())]

    def mixed(self, size: int) -> Iterator[RowReferences]:
        """Yields batches of any domains."""
        if not self.arrivals.total:
            return
        buffer, size = self._buffer, min(size, self._capacity)
        for begin, end in itertools.pairwise(batch_boundaries(self.arrivals.total, size)):
            buffer.add(self.arrivals.next(self._capacity - len(buffer)))
            self.held = len(buffer)
            yield buffer.draw(end - begin)

    def by_domain(self, size: int) -> Iterator[RowReferences]:
        """Collects the rows that leave the buffer until their domain has a batch of them.

        Batches of a domain therefore come in proportion to its rows. Collected rows count as
        held, and are yielded as a smaller batch once as many rows as the buffer's capacity have
        left after the first of them. A single row is not: it is collected until the domain has
        another one.
        """
        buffer = self._buffer
        self._pending = pending = {
            domain: _PendingRows(count, size) for domain, count in self._counts.items()
        }
        num_left = 0
        while True:
            num_pending = sum(len(rows) for rows in pending.values())
            buffer.add(self.arrivals.next(self._capacity - num_pending - len(buffer)))
            self.held = num_pending + len(buffer)
            if not len(buffer):
                if not num_pending:
                    return
                # The pending rows fill the buffer.
                fullest = max(pending, key=lambda domain: (len(pending[domain]), -domain))
                yield pending[fullest].flush()
                continue
            drawn = buffer.draw(size)
            num_left += len(drawn)
            domains = np.unique(drawn.domain).tolist()
            for domain in domains:
                pending[domain].add(drawn.take(drawn.domain == domain), num_left)
            for domain in domains:
                while pending[domain].is_batch():
                    yield pending[domain].take_batch(num_left)
            for rows in pending.values():
                if num_left - rows.since >= self._capacity and rows.may_flush():
                    yield rows.flush()


class _PendingRows:
    """Rows of a domain that have left the buffer and wait for a batch.

    Batches are of nearly equal size over the rows that remain, as `batch_boundaries` splits
    them. Neither a batch nor what remains after it is a single row, if that can be avoided.

    Args:
        remaining: Number of rows of the domain.
        size: Maximum rows of a batch.

    Attributes:
        since: Number of rows that had left the buffer when the first of these did.
        contents: References to the rows.
    """

    def __init__(self, remaining: int, size: int):
        self.since = 0
        self._remaining, self._size = remaining, size
        self.contents = RowReferences.empty(0)

    def __len__(self) -> int:
        return len(self.contents)

    def add(self, rows: RowReferences, num_left: int) -> None:
        """Adds rows.

        Args:
            rows: Rows of the domain.
            num_left: Number of rows of all domains that have left the buffer.
        """
        if not len(self):
            self.since = num_left
        self.contents = RowReferences.concatenate([self.contents, rows])

    def is_batch(self) -> bool:
        """Returns whether there are enough rows for a batch."""
        return 0 < len(self) >= self._batch_size()

    def take_batch(self, num_left: int) -> RowReferences:
        """Takes the rows of a batch; arguments as for `add`."""
        self.since = num_left
        return self._take(self._batch_size())

    def may_flush(self) -> bool:
        """Returns whether neither the rows nor those that will follow are a single row."""
        return len(self) > 1 and self._remaining - len(self) != 1

    def flush(self) -> RowReferences:
        """Takes all rows, except one if a single row would follow."""
        is_one_left = self._remaining - len(self) == 1 and len(self) > 2
        return self._take(len(self) - is_one_left)

    def _batch_size(self) -> int:
        return self._remaining // num_batches(self._remaining, self._size)

    def _take(self, count: int) -> RowReferences:
        taken = self.contents.take(slice(0, count))
        self.contents = self.contents.take(slice(count, None))
        self._remaining -= count
        return taken


class _Arrivals:
    """References to all rows, in order of time.

    Args:
        counts: Number of rows of each split.
        domains_of: Function from a split to the domains of its rows, int32 [rows].
        slots: Number of slots; as many rows can be in the window.

    Attributes:
        total: Number of rows.
        unread: References that were returned by `next`; emptied by whoever reads the rows.
    """

    def __init__(self, counts: list[int], domains_of: Callable[[int], np.ndarray], slots: int):
        self.total = sum(counts)
        self.unread: list[RowReferences] = []
        self._ends = np.cumsum(counts)
        self._domains_of = domains_of
        self._next, self._free, self._num_free = 0, np.arange(slots), slots

    def next(self, count: int) -> RowReferences:
        """Returns the next `count` rows, or fewer at the end."""
        numbers = np.arange(self._next, min(self._next + count, self.total))
        self._next += len(numbers)
        split = np.searchsorted(self._ends, numbers, side='right').astype(np.int32)
        row = numbers - np.concatenate([[0], self._ends])[split]
        domain = np.empty(len(numbers), np.int32)
        for each in np.unique(split).tolist():
            domain[split == each] = self._domains_of(each)[row[split == each]]
        self._num_free -= len(numbers)
        slot = self._free[self._num_free : self._num_free + len(numbers)].copy()
        self.unread.append(RowReferences(split, row, domain, slot))
        return self.unread[-1]

    def release(self, rows: RowReferences) -> None:
        """Makes the slots of rows free, which have left the window."""
        self._free[self._num_free : self._num_free + len(rows)] = rows.slot
        self._num_free += len(rows)


class _ShuffleBuffer:
    """Rows in no particular order, from which random ones are drawn.

    Args:
        generator: Random generator of the draws.
        capacity: Maximum number of rows.
    """

    def __init__(self, generator: np.random.Generator, capacity: int):
        self._generator, self._count = generator, 0
        self._rows = RowReferences.empty(capacity)

    def __len__(self) -> int:
        return self._count

    def contents(self) -> RowReferences:
        """Returns the rows."""
        return self._rows.take(slice(0, self._count))

    def add(self, rows: RowReferences) -> None:
        """Adds rows."""
        self._rows.put(slice(self._count, self._count + len(rows)), rows)
        self._count += len(rows)

    def draw(self, count: int) -> RowReferences:
        """Removes random rows; every set and every order of them is equally likely.

        Args:
            count: Number of rows; all rows if there are fewer.
        """
        count = min(count, len(self))
        positions = self._generator.choice(len(self), count, replace=False)
        drawn = self._rows.take(positions)
        self._count -= count
        # The gaps are filled with the rows at the end that were not drawn.
        last = np.setdiff1d(np.arange(self._count, self._count + count), positions)
        self._rows.put(positions[positions < self._count], self._rows.take(last))
        return drawn

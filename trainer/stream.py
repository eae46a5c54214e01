"""Streaming training: every row once, in the order of time through a sliding window (STAR 4.4).

The share of each domain changes over time, and a model that is trained in the plain order of
time is shaken by that. So rows enter a buffer of bounded size in the order of time, and leave
it at random: the window slides over the history, and a batch is a sample of all of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np

from trainer.examples import Batch, Examples, batch_cuts
from trainer.tfrecords import Columns, Records, decode
from trainer.time_order import TimeOrder

_AT_ONCE = 4096  # rows decoded at once


class Rows(NamedTuple):
    """References to rows: which split (by its place in the order of time), which row of it.

    Attributes:
        split: int32 [rows].
        row: int64 [rows].
    """

    split: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    def take(self, places: np.ndarray | slice) -> Rows:
        return Rows(self.split[places], self.row[places])

    @staticmethod
    def joined(parts: list[Rows]) -> Rows:
        return Rows(np.concatenate([part.split for part in parts]),
                    np.concatenate([part.row for part in parts]))


_NONE = Rows(np.zeros(0, np.int32), np.zeros(0, np.int64))


class Stream:
    """Batches of the rows of splits, in the order of time but for a window that is shuffled.

    The window holds references, and a row is read when it leaves: of what rows hold no more
    than some thousand are in memory, or a batch, beside the place and time of each row of the
    splits that the window reaches into (`TimeOrder`).

    A batch depends only on the arguments. `start` continues by going through the references
    alone, so a restart neither repeats nor loses a row, and reads none twice.

    Args:
        examples: whose rows, each exactly once; its splits are taken in the order of their
            days.
        rows: the most that the window holds. It should be many times the batch's size; for
            batches of one domain, well above the batch's size times the number of domains.
        seed: of what leaves when.

    Attributes:
        splits: the names, in the order of time.
        held: rows in the window now.
    """

    def __init__(self, examples: Examples, rows: int, seed: int = 0):
        days = examples.manifest.splits
        self.splits = sorted(examples.splits, key=lambda split: days[split].days)
        self.held = 0
        self._examples, self._limit, self._seed = examples, rows, seed
        self._orders: dict[int, TimeOrder] = {}

    def batches(self, size: int, kind: Literal['domain', 'mixed'] = 'domain',
                start: int = 0) -> Iterator[Batch]:
        """Every row once.

        Args:
            size: rows a batch at most; mixed batches have alike many. Of one domain, some are
                smaller: the last ones, and those of a domain that has fewer rows than that in
                the stretch of a whole window.
            kind: `domain` or `mixed`, as of `Examples.epoch`.
            start: the first batches to leave out.
        """
        records: list[bytes] = []
        domains: list[np.ndarray] = []
        for place, rows in enumerate(self.references(size, kind)):
            if place < start:
                continue
            records += self._read(rows)
            domains.append(self._domains(rows))
            if len(records) >= _AT_ONCE:
                yield from self._decoded(records, domains, kind)
                records, domains = [], []
        yield from self._decoded(records, domains, kind)

    def references(self, size: int, kind: Literal['domain', 'mixed']) -> Iterator[Rows]:
        """What `batches` reads: the rows of each batch."""
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(self._seed)))
        arriving = _Arriving([self._count(split) for split in self.splits])
        leave = self._mixed if kind == 'mixed' else self._by_domain
        return leave(generator, arriving, size)

    def _mixed(self, generator: np.random.Generator, arriving: _Arriving,
               size: int) -> Iterator[Rows]:
        window = _Window(generator, min(self._limit, arriving.total))
        size = min(size, self._limit)
        for first, end in itertools.pairwise(batch_cuts(arriving.total, size)):
            window.add(arriving.next(self._limit - len(window)))
            self._forget_before(window.oldest())
            self.held = len(window)
            yield window.draw(end - first)
        self.held = 0

    def _by_domain(self, generator: np.random.Generator, arriving: _Arriving,
                   size: int) -> Iterator[Rows]:
        """Rows leave the window as above, and wait until their domain has a batch of them.

        So batches of a domain come in proportion to its rows. Rows that wait count as held;
        they wait no longer than it takes as many rows as the window's to leave.
        """
        window, left = _Window(generator, min(self._limit, arriving.total)), 0
        waiting: dict[int, _Waiting] = {}
        while True:
            held = sum(len(each.rows) for each in waiting.values())
            window.add(arriving.next(self._limit - held - len(window)))
            self.held = held + len(window)
            self._forget_before(min([window.oldest(), *(each.rows.split.min()
                                                        for each in waiting.values())]))
            if not len(window):
                if not waiting:
                    return
                # All has left but what waits; or those that wait fill the window.
                most = max(waiting, key=lambda domain: (len(waiting[domain].rows), -domain))
                yield waiting.pop(most).rows
                continue
            drawn = window.draw(size)
            left += len(drawn)
            of = self._domains(drawn)
            for domain in np.unique(of).tolist():
                before = waiting.pop(domain, _Waiting(_NONE, left))
                rows = Rows.joined([before.rows, drawn.take(of == domain)])
                if len(rows) >= size:
                    yield rows.take(slice(0, size))
                    rows, before = rows.take(slice(size, None)), _Waiting(_NONE, left)
                if len(rows):
                    waiting[domain] = _Waiting(rows, before.since)
            for domain in [d for d, each in waiting.items()
                           if left - each.since >= self._limit]:
                yield waiting.pop(domain).rows

    def _read(self, rows: Rows) -> list[bytes]:
        records: list[bytes] = [b''] * len(rows)
        for split in np.unique(rows.split).tolist():
            mine = np.flatnonzero(rows.split == split)
            for place, record in zip(mine.tolist(), self._order(split).read(rows.row[mine]),
                                     strict=True):
                records[place] = record
        return records

    def _decoded(self, records: list[bytes], domains: list[np.ndarray],
                 kind: str) -> Iterator[Batch]:
        """The batches of records whose domains are `domains`, [batch] each."""
        if not records:
            return
        columns: Columns = decode(
            Records.of(records, self._examples.split), self._examples.features)
        first = 0
        for domain in domains:
            rows = columns.take(slice(first, first + len(domain)))
            yield self._examples.batch(rows, domain if kind == 'mixed' else domain[0])
            first += len(domain)

    def _domains(self, rows: Rows) -> np.ndarray:
        domain = np.zeros(len(rows), np.int32)
        for split in np.unique(rows.split).tolist():
            mine = rows.split == split
            domain[mine] = self._order(split).domain[rows.row[mine]]
        return domain

    def _order(self, split: int) -> TimeOrder:
        if split not in self._orders:
            self._orders[split] = TimeOrder(self._examples, self.splits[split], self._seed)
        return self._orders[split]

    def _forget_before(self, split: int) -> None:
        """Drops the orders of splits that no row of the window is of."""
        for passed in [number for number in self._orders if number < split]:
            del self._orders[passed]

    def _count(self, split: str) -> int:
        return sum(each.examples for ranges in self._examples.ranges(split).values()
                   for each in ranges)


class _Waiting(NamedTuple):
    """Rows of a domain that have left the window, and how many had when the first did."""

    rows: Rows
    since: int


class _Arriving:
    """References to all rows, in the order of time."""

    def __init__(self, counts: list[int]):
        self.total = sum(counts)
        self._ends = np.cumsum(counts)
        self._next = 0

    def next(self, count: int) -> Rows:
        """The next rows, as many as asked for while there are any."""
        numbers = np.arange(self._next, min(self._next + count, self.total))
        self._next += len(numbers)
        split = np.searchsorted(self._ends, numbers, side='right')
        begins = np.concatenate([[0], self._ends])[split]
        return Rows(split.astype(np.int32), numbers - begins)


class _Window:
    """Rows in no order, from which some are drawn at random."""

    def __init__(self, generator: np.random.Generator, capacity: int):
        self._generator, self._count = generator, 0
        self._rows = Rows(np.zeros(capacity, np.int32), np.zeros(capacity, np.int64))

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Rows) -> None:
        places = slice(self._count, self._count + len(rows))
        self._rows.split[places], self._rows.row[places] = rows.split, rows.row
        self._count += len(rows)

    def draw(self, count: int) -> Rows:
        """Takes rows out, each set and order of them being as likely as any other."""
        count = min(count, len(self))
        places = self._generator.choice(len(self), count, replace=False)
        drawn = self._rows.take(places)
        self._count -= count
        # Rows of the end that stay fill the gaps before it.
        last = np.setdiff1d(np.arange(self._count, self._count + count), places)
        gaps = places[places < self._count]
        moved = self._rows.take(last)
        self._rows.split[gaps], self._rows.row[gaps] = moved.split, moved.row
        return drawn

    def oldest(self) -> int:
        """The first split that has rows here; after all splits where there are none."""
        return int(self._rows.split[:self._count].min(initial=np.iinfo(np.int32).max))

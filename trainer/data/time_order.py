"""The rows of a split in order of time."""

from __future__ import annotations

import numpy as np

from trainer.data.batching import even_boundaries
from trainer.data.columns import Columns, bytes_per_row, column_names, decode
from trainer.data.example_ranges import scan
from trainer.data.examples import Examples


class TimeOrder:
    """The rows of one split, of all domains, sorted by timestamp.

    Rows with equal timestamps are in random order, since files hold them domain by domain. A
    row takes 20 bytes of memory. Its features are in memory only while the period in which it
    lies is read: all of the split's, or as many rows as fit into half of `Examples.memory`.
    The whole split is read for each of these periods.

    Args:
        examples: Examples whose rows these are.
        split: Name of one of their splits.
        seed: Random seed of the order of rows with equal timestamps.

    Attributes:
        domain: Domain of each row, int32 [rows].
        timestamp: Timestamp of each row in seconds, ascending, int64 [rows].
    """

    def __init__(self, examples: Examples, split: str, seed: int):
        self._features = examples.features
        by_domain = examples.ranges(split)
        self._ranges = [part for domain in sorted(by_domain) for part in by_domain[domain]]
        rows = {domain: sum(part.rows for part in by_domain[domain]) for domain in by_domain}
        domains = np.array(sorted(by_domain), np.int32)
        domain = np.repeat(domains, [rows[number] for number in domains.tolist()])
        timestamps = np.empty(len(domain), np.int64)
        for positions, table in scan(self._ranges, ['timestamp']):
            timestamps[positions] = table['timestamp'].to_numpy()
        ties = np.random.Generator(
            np.random.Philox(np.random.SeedSequence([seed, _days_since(examples, split)]))
        ).permutation(len(timestamps))
        order = np.lexsort((ties, timestamps))
        self.timestamp, self.domain = timestamps[order], domain[order]
        self._rank = np.empty(len(order), np.int64)  # of each row, counted through the ranges
        self._rank[order] = np.arange(len(order))
        periods = -(-len(order) * bytes_per_row(self._features) // (examples.memory // 2 + 1))
        self._bounds = np.array(even_boundaries(len(order), periods))
        self._period: tuple[int, Columns] | None = None

    def __len__(self) -> int:
        return len(self.domain)

    def take(self, rows: np.ndarray) -> Columns:
        """Reads rows.

        Args:
            rows: Positions of the rows in order of time.
        """
        columns = Columns.empty(len(rows), self._features)
        period = np.searchsorted(self._bounds, rows, side='right') - 1
        for number in np.unique(period).tolist():
            mine = np.flatnonzero(period == number)
            columns.put(mine, self._read(number).take(rows[mine] - self._bounds[number]))
        return columns

    def _read(self, number: int) -> Columns:
        """Returns the rows of a period, in order of time."""
        if self._period is None or self._period[0] != number:
            self._period = None
            first, last = self._bounds[number : number + 2].tolist()
            columns = Columns.empty(last - first, self._features)
            for positions, table in scan(self._ranges, column_names(self._features)):
                place = self._rank[positions] - first
                part = Columns.empty(len(place), self._features)
                decode(table, self._features, part)
                inside = (place >= 0) & (place < len(columns))
                columns.put(place[inside], part.take(np.flatnonzero(inside)))
            self._period = number, columns
        return self._period[1]


def _days_since(examples: Examples, split: str) -> int:
    """Returns the split's first day as a number, independent of the other splits."""
    return int(np.datetime64(examples.manifest.splits[split].days[0]).astype(np.int64))

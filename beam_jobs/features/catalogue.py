"""The items of every domain, and random draws of those that a user does not know.

An entry of the catalogue is an item of a domain with the day from which it counts. The entries
of a domain are ordered by day, so its items as of a day are a prefix of them. An item that is
drawn by its popularity has an entry for each day on which the domain shows it, weighted by the
increase of its weight on that day; so the weights in every prefix add up to the weight as of
its last day.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beam_jobs.arrow_files import fetch_arrow, write_arrow
from beam_jobs.rows.random_draws import Stream, uniform
from mdctr.runs import starts_run

EXHAUSTED = -1  # the user knows every candidate
_ROUNDS = 4
_GROUPS = 4096
_WEIGHT = 1 << 24


@dataclass(frozen=True)
class Candidates:
    """What each negative's item is drawn from, as columns `[n]`.

    Attributes:
        domain: Domain number: items that appeared in this domain ...
        day: ... by the end of this day, see `Catalogue.write`, ...
        user: User number: ... that this user has not interacted with ...
        until: ... before this time, in seconds.
    """

    domain: np.ndarray
    day: np.ndarray
    user: np.ndarray
    until: np.ndarray

    def take(self, rows: np.ndarray) -> 'Candidates':
        """The candidates of some negatives."""
        return Candidates(self.domain[rows], self.day[rows], self.user[rows], self.until[rows])


@dataclass(frozen=True)
class Interactions:
    """The items that users know.

    Attributes:
        keys: user number * number of items + item number, ascending and distinct.
        since: Time of the user's first interaction with the item, in seconds.
    """

    keys: np.ndarray
    since: np.ndarray

    @staticmethod
    def of_rows(
        user: np.ndarray, item: np.ndarray, timestamp: np.ndarray, num_items: int
    ) -> 'Interactions':
        """The interactions in the rows of a sorted bucket.

        Args:
            user: User numbers, ascending, `int64[rows]`.
            item: Item numbers, `int64[rows]`.
            timestamp: Seconds, ascending within a user, `float64[rows]`.
            num_items: Number of items.
        """
        # The first row of each key is the earliest, since a user's rows are in order of time.
        keys, first = np.unique(user * num_items + item, return_index=True)
        return Interactions(keys, timestamp[first])


class Catalogue:
    """The entries of every domain, from a file that workers map.

    Attributes:
        num_items: Number of items; item numbers are below it.
    """

    def __init__(self, path: str):
        """Opens the file that `Catalogue.write` wrote."""
        table = fetch_arrow(path)
        self.num_items = int(table.schema.metadata[b'num_items'])
        self._first_day = int(table.schema.metadata[b'first_day'])
        self._days = int(table.schema.metadata[b'days'])
        # Entries, by (domain, day, item).
        self._item = table['item'].to_numpy()
        self._domain_day = table['domain_day'].to_numpy()
        self._cumulative = table['cumulative'].to_numpy()
        # The same entries, by (domain, item, day).
        self._domain_item = table['domain_item'].to_numpy()
        self._entry = table['entry'].to_numpy()

    @staticmethod
    def write(
        path: str,
        domain: np.ndarray,
        item: np.ndarray,
        day: np.ndarray,
        rows: np.ndarray,
        num_items: int,
        popularity: float,
    ) -> None:
        """Writes the catalogue.

        Args:
            path: The file.
            domain: Domain number of each entry, `int64[entries]`.
            item: Item number of each entry, `int64[entries]`.
            day: Day from which each entry counts, `int64[entries]`. Days may be any integers
                that ascend with time; with popularity 0, an item has one entry in a domain.
            rows: Rows of the item in the domain on that day, `int64[entries]`.
            num_items: Number of items.
            popularity: An item is drawn in proportion to its rows in the domain up to the end
                of the day, raised to this power; 0 draws uniformly.
        """
        by_item = np.lexsort((day, item, domain))
        domain, item, day = domain[by_item], item[by_item], day[by_item]
        weights = _weights(domain, item, rows[by_item], popularity)
        by_day = np.lexsort((item, day, domain))
        entry = np.empty(len(by_day), np.int64)
        entry[by_day] = np.arange(len(by_day))
        first_day, days = (int(day.min()), int(np.ptp(day)) + 1) if len(day) else (0, 1)
        table = pa.table(
            {
                'item': item[by_day],
                'domain_day': domain[by_day] * days + day[by_day] - first_day,
                'cumulative': np.cumsum(weights[by_day]),
                'domain_item': domain * num_items + item,
                'entry': entry,
            }
        )
        about = {'num_items': num_items, 'first_day': first_day, 'days': days}
        write_arrow(
            path,
            table.replace_schema_metadata({name: str(value) for name, value in about.items()}),
        )

    def sample(
        self,
        seed: int,
        candidates: Candidates,
        draws: np.ndarray,
        interactions: Interactions,
    ) -> np.ndarray:
        """Draws an item for each negative.

        The first rounds draw from all items of the domain as of the day, and redraw items that
        the user knows. The draws that remain, of users who know nearly every item, are made
        from the items that they do not know.

        Args:
            seed: Random seed.
            candidates: What each item is drawn from.
            draws: Key of each draw, `uint64[n]`.
            interactions: What the users know.

        Returns:
            The item number of each, `EXHAUSTED` where no candidate is left; `int64[n]`.
        """
        begin, end = self._entries(candidates)
        base = self._weight_before(begin)
        total = self._weight_before(end) - base
        items = np.full(len(draws), EXHAUSTED, np.int64)
        pending = np.flatnonzero(total > 0)
        for attempt in range(_ROUNDS):
            point = base[pending] + _below(
                total[pending], seed, Stream.NEGATIVE, draws[pending], attempt
            )
            drawn = self._item_at(point)
            keys = candidates.user[pending] * self.num_items + drawn
            known = _known(interactions, keys, candidates.until[pending])
            items[pending[~known]] = drawn[~known]
            pending = pending[known]
            if not len(pending):
                return items
        left = candidates.take(pending)
        order = np.lexsort((left.until, left.day, left.user, left.domain))
        pending, left = pending[order], left.take(order)
        starts = starts_run(left.domain, left.user, left.day, left.until)
        groups, group = left.take(np.flatnonzero(starts)), np.cumsum(starts) - 1
        for first in range(0, len(groups.user), _GROUPS):
            start, stop = np.searchsorted(group, [first, first + _GROUPS])
            chunk = pending[start:stop]
            items[chunk] = self._sample_unknown(
                seed,
                groups.take(np.arange(first, min(first + _GROUPS, len(groups.user)))),
                group[start:stop] - first,
                draws[chunk],
                interactions,
            )
        return items

    def _entries(self, candidates: Candidates) -> tuple[np.ndarray, np.ndarray]:
        """The first entry of each domain, and the end of its entries as of the day."""
        day = np.clip(candidates.day - self._first_day, -1, self._days - 1)
        first = candidates.domain * self._days
        return (
            np.searchsorted(self._domain_day, first),
            np.searchsorted(self._domain_day, first + day, side='right'),
        )

    def _weight_before(self, entry: np.ndarray) -> np.ndarray:
        if not len(self._cumulative):
            return np.zeros(len(entry), np.int64)
        return np.where(entry > 0, self._cumulative[np.maximum(entry, 1) - 1], 0)

    def _item_at(self, point: np.ndarray) -> np.ndarray:
        return self._item[np.searchsorted(self._cumulative, point, side='right')]

    def _sample_unknown(
        self,
        seed: int,
        groups: Candidates,
        group: np.ndarray,
        draws: np.ndarray,
        interactions: Interactions,
    ) -> np.ndarray:
        """Draws from the entries that the user does not know.

        The weights of the unknown entries, end to end, form a line that is shorter than the
        domain's. A point on it lies after those known entries that begin, on the shorter
        line, at or before it; adding their weights gives the point on the domain's line.

        Args:
            seed: Random seed.
            groups: Distinct candidates.
            group: The group of each draw, ascending, `int64[n]`.
            draws: Key of each draw, `uint64[n]`.
            interactions: What the users know.
        """
        first_entry, end = self._entries(groups)
        base = self._weight_before(first_entry)
        total = self._weight_before(end) - base
        of_group, entry = self._known_entries(groups, end, interactions)

        before = self._weight_before(entry)
        passed = np.concatenate([[0], np.cumsum(self._cumulative[entry] - before)])
        first = np.searchsorted(of_group, np.arange(len(groups.user) + 1))
        free = total - (passed[first[1:]] - passed[first[:-1]])
        line = np.cumsum(free + 1) - (free + 1)  # the groups' shorter lines, end to end
        known_at = (
            line[of_group] + before - base[of_group] - (passed[:-1] - passed[first[of_group]])
        )

        point = _below(free[group], seed, Stream.NEGATIVE_RANK, draws, 0)
        beyond = np.searchsorted(known_at, line[group] + point, side='right')
        point += base[group] + passed[beyond] - passed[first[group]]
        possible = free[group] > 0
        items = np.full(len(group), EXHAUSTED, np.int64)
        items[possible] = self._item_at(point[possible])
        return items

    def _known_entries(
        self, groups: Candidates, end: np.ndarray, interactions: Interactions
    ) -> tuple[np.ndarray, np.ndarray]:
        """The candidates' entries that their user knows: group and entry, in this order."""
        begin = np.searchsorted(interactions.keys, groups.user * self.num_items)
        count = np.searchsorted(interactions.keys, (groups.user + 1) * self.num_items) - begin
        group, place = _expand(begin, count)
        known = interactions.since[place] < groups.until[group]
        group, place = group[known], place[known]
        keys = groups.domain[group] * self.num_items
        keys += interactions.keys[place] % self.num_items
        begin = np.searchsorted(self._domain_item, keys)
        count = np.searchsorted(self._domain_item, keys, side='right') - begin
        which, place = _expand(begin, count)
        group, entry = group[which], self._entry[place]
        candidate = entry < end[group]
        group, entry = group[candidate], entry[candidate]
        order = np.lexsort((entry, group))
        return group[order], entry[order]


def _weights(
    domain: np.ndarray, item: np.ndarray, rows: np.ndarray, popularity: float
) -> np.ndarray:
    """The increase of each item's weight on each day, in the order of (domain, item, day).

    An item's weight as of a day is (its rows so far / the domain's greatest) ** popularity,
    as an integer on a scale of 2**24, at least 1: so sums are exact.
    """
    if popularity == 0 or not len(rows):
        return np.ones(len(rows), np.int64)
    starts = starts_run(domain, item)
    total = np.cumsum(rows)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(rows)), 0))
    so_far = total - (total - rows)[first]
    domain_starts = starts_run(domain)
    greatest = np.maximum.reduceat(so_far, np.flatnonzero(domain_starts))
    share = so_far / greatest[np.cumsum(domain_starts) - 1]
    weight = np.maximum(1, np.round(share**popularity * _WEIGHT)).astype(np.int64)
    return np.where(starts, weight, weight - np.roll(weight, 1))


def _below(
    bounds: np.ndarray, seed: int, stream: Stream, keys: np.ndarray, attempt: int
) -> np.ndarray:
    """Uniform integers in [0, bound)."""
    drawn = (uniform(seed, stream, keys, attempt) * bounds).astype(np.int64)
    return np.minimum(drawn, np.maximum(bounds - 1, 0))


def _known(interactions: Interactions, keys: np.ndarray, until: np.ndarray) -> np.ndarray:
    """Whether each key is an interaction before its time; `bool[len(keys)]`."""
    if not len(interactions.keys):
        return np.zeros(len(keys), bool)
    place = np.searchsorted(interactions.keys, keys)
    place = np.minimum(place, len(interactions.keys) - 1)
    return (interactions.keys[place] == keys) & (interactions.since[place] < until)


def _expand(begin: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ranges `begin` to `begin + count`, end to end: each element's range and place."""
    which = np.repeat(np.arange(len(begin)), count)
    place = np.arange(count.sum()) + np.repeat(begin - (np.cumsum(count) - count), count)
    return which, place

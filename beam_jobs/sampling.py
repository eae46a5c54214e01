"""Negatives by CTR ratio (MAMDR, eq. 23) and the down-sampling of a log's own (CTNet 4.1).

A domain with P positives and ratio r gets N = floor(P / r + 1/2) negatives. Its positives, in
a fixed order (split, bucket, then the order of rows), share them: number i of them (from 0)
gets floor((i + 1) N / P) - floor(i N / P). So the domain's total is exact, and each split's
is within one of its share.

A negative's item is one of the domain's items (of the whole log) that the user has not
interacted with anywhere in the log, in any domain.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from beam_jobs.config import SamplingConfig
from beam_jobs.draws import Purpose, hash_strings, mix, uniform

NONE = -1  # the user has interacted with every item of the domain
_ROUNDS = 4
_PAIRS = 4096
_WEIGHT = 1 << 24


def negatives_of(positives: int, ratio: float) -> int:
    """The negatives that a domain's positives get: positives / ratio, half rounded up."""
    return int(np.floor(positives / ratio + 0.5))


def ratio_of(domain: str, config: SamplingConfig, seed: int) -> float | None:
    """The domain's CTR ratio; None where there is none for it.

    A ratio of a range is drawn by seed and the domain's name, so it does not depend on which
    other domains there are.
    """
    ratio = config.ctr_ratio
    if isinstance(ratio, dict):
        return ratio.get(domain)
    if isinstance(ratio, tuple):
        key = hash_strings(pa.array([domain]))
        low, high = ratio
        return float(low + (high - low) * uniform(seed, Purpose.CTR_RATIO, key)[0])
    return ratio


def quota(numbers: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """How many negatives stand beside each positive.

    Args:
        numbers: each positive's number in its domain, from 0.
        positives, negatives: of its domain.
    """
    return (numbers + 1) * negatives // positives - numbers * negatives // positives


def kept(config: SamplingConfig, seed: int, click: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Which rows of the log become examples: every click, and a random part of the others.

    With a CTR ratio the log's rows without a click are interactions but no examples.
    """
    if config.ctr_ratio is not None:
        return click > 0
    if config.keep_negatives == 1.0:
        return np.ones(len(click), bool)
    return (click > 0) | (uniform(seed, Purpose.DOWN_SAMPLING, keys) < config.keep_negatives)


def weights(counts: np.ndarray, start: np.ndarray, size: np.ndarray,
            popularity: float) -> np.ndarray:
    """Whole-number weights of the items of each domain: (count / greatest) ** popularity.

    Whole, so that sums are exact, on a scale of 2**24; at least 1.
    """
    if popularity == 0 or not len(counts):
        return np.ones(len(counts), np.int64)
    greatest = np.repeat(np.maximum.reduceat(counts, start), size)
    return np.maximum(1, np.round((counts / greatest) ** popularity * _WEIGHT)).astype(np.int64)


@dataclass(frozen=True)
class Catalogue:
    """The items of every domain.

    Attributes:
        num_items: items have numbers below it.
        keys: `int64[entries]`, ascending: domain number * num_items + item number.
        upto: `int64[entries]`, the sum of the weights up to and with each entry.
        start: `int64[domains + 1]`, where each domain's entries begin.
    """

    num_items: int
    keys: np.ndarray
    upto: np.ndarray
    start: np.ndarray

    def _mass_before(self, entry: np.ndarray) -> np.ndarray:
        return np.where(entry > 0, self.upto[np.maximum(entry, 1) - 1], 0)

    def sample(self, seed: int, domain: np.ndarray, user: np.ndarray, draws: np.ndarray,
               interactions: np.ndarray) -> np.ndarray:
        """Draws an item for each negative.

        The first rounds draw from all items of the domain and draw again what the user has
        interacted with. What is left then, users who know nearly every item, is drawn from
        the list of the items that they do not know.

        Args:
            seed: of the draws.
            domain: the number of each negative's domain.
            user: the number of its user.
            draws: its key, `uint64`.
            interactions: `int64`, ascending and distinct: user number * num_items + item
                number, of everything that these users did in the log.

        Returns:
            The item number of each, `NONE` where the user knows every item.
        """
        base = self._mass_before(self.start[domain])
        mass = self._mass_before(self.start[domain + 1]) - base
        items = np.full(len(domain), NONE, np.int64)
        left = np.arange(len(domain))
        for attempt in range(_ROUNDS):
            point = base[left] + _below(mass[left], seed, Purpose.NEGATIVE, draws[left],
                                        attempt)
            drawn = self._item_at(point)
            known = _contains(interactions, user[left] * self.num_items + drawn)
            items[left[~known]] = drawn[~known]
            left = left[known]
            if not len(left):
                return items
        pairs, place = np.unique(np.stack([domain[left], user[left]]), axis=1,
                                 return_inverse=True)
        by_pair = np.argsort(place.ravel(), kind='stable')
        left, place = left[by_pair], place.ravel()[by_pair]
        for first in range(0, pairs.shape[1], _PAIRS):
            begin, end = np.searchsorted(place, [first, first + _PAIRS])
            some = left[begin:end]
            items[some] = self._sample_unknown(seed, pairs[:, first:first + _PAIRS],
                                               place[begin:end] - first, draws[some],
                                               interactions)
        return items

    def _item_at(self, point: np.ndarray) -> np.ndarray:
        return self.keys[np.searchsorted(self.upto, point, side='right')] % self.num_items

    def _sample_unknown(self, seed: int, pairs: np.ndarray, place: np.ndarray,
                        draws: np.ndarray, interactions: np.ndarray) -> np.ndarray:
        """Draws from what is left of a domain without the entries that its user knows.

        The weights that are left, put side by side, are a shorter line than the domain's. A
        point on it lies beyond those known entries that begin, on the shorter line, at or
        before it; their weights lead back to the domain's own line.
        """
        domain, user = pairs
        base = self._mass_before(self.start[domain])
        mass = self._mass_before(self.start[domain + 1]) - base
        begin = np.searchsorted(interactions, user * self.num_items)
        count = np.searchsorted(interactions, (user + 1) * self.num_items) - begin
        pair = np.repeat(np.arange(len(user)), count)
        known = np.arange(count.sum()) + np.repeat(begin - (np.cumsum(count) - count), count)
        keys = domain[pair] * self.num_items + interactions[known] % self.num_items
        entry = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        in_domain = self.keys[entry] == keys
        pair, entry = pair[in_domain], entry[in_domain]

        before = self._mass_before(entry)
        weight = self.upto[entry] - before
        passed = np.concatenate([[0], np.cumsum(weight)])
        first = np.searchsorted(pair, np.arange(len(user) + 1))
        free = mass - (passed[first[1:]] - passed[first[:-1]])
        line = np.cumsum(free + 1) - (free + 1)  # the pairs' shorter lines, one after another
        known_at = line[pair] + before - base[pair] - (passed[:-1] - passed[first[pair]])

        point = _below(free[place], seed, Purpose.NEGATIVE_RANK, draws, 0)
        beyond = np.searchsorted(known_at, line[place] + point, side='right')
        point += base[place] + passed[beyond] - passed[first[place]]
        possible = free[place] > 0
        items = np.full(len(place), NONE, np.int64)
        items[possible] = self._item_at(point[possible])
        return items


def draw_keys(row_keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Keys of the draws beside each row: of the row's key and the draw's number."""
    number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return mix(np.repeat(row_keys, counts), number)


def _below(bounds: np.ndarray, seed: int, purpose: Purpose, keys: np.ndarray,
           attempt: int) -> np.ndarray:
    """Uniform whole numbers in [0, bound)."""
    drawn = (uniform(seed, purpose, keys, attempt) * bounds).astype(np.int64)
    return np.minimum(drawn, np.maximum(bounds - 1, 0))


def _contains(ascending: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if not len(ascending):
        return np.zeros(len(wanted), bool)
    place = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return ascending[place] == wanted

"""Two splits that are compared: their rows, their domains, and how much days differ."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beam_jobs.validation.config import DataValidationConfig
from beam_jobs.validation.intervals import (
    Floats,
    Ints,
    correlation_within,
    effective_size,
    share_bounds,
)
from beam_jobs.validation.sample import Sample
from mdctr.manifest import Manifest

ALL = 0  # the group of all rows
# A day of the training split is out of the ordinary by what these bounds leave unexplained.
_DAY_ERROR = 0.025


@dataclass(frozen=True)
class Sizes:
    """Effective numbers of rows of each group, `float64[groups]`; see `effective_size`."""

    independent: Floats
    clustered: Floats

    def of(self, correlation: float) -> Floats:
        """The effective numbers of rows whose values correlate within a user."""
        return effective_size(self.independent, self.clustered, correlation)


@dataclass(frozen=True)
class Pair:
    """The training split and a split that is compared with it.

    Attributes:
        manifest: Manifest of the dataset.
        config: The `data_validation` section.
        before: Rows of the training split.
        after: Rows of the other split.
        by_time: Whether the training split is the earlier one, so that days may differ.
    """

    manifest: Manifest
    config: DataValidationConfig
    before: Sample
    after: Sample
    by_time: bool

    @functools.cached_property
    def domains(self) -> Ints:
        """Ids of the domains that both splits have, ascending; group n is the nth, from 1."""
        shared = np.intersect1d(self.before.domain, self.after.domain)
        ids: Ints = shared[shared > 0]
        return ids

    @functools.cached_property
    def names(self) -> list[str | None]:
        """Name of the domain of each group, None for all rows."""
        names = {domain.id: domain.name for domain in self.manifest.domains}
        return [None, *(names.get(number, str(number)) for number in self.domains.tolist())]

    @functools.cached_property
    def click_correlation(self) -> float:
        """How much the clicks of a user resemble each other."""
        return correlation_within(self.before.user, self.before.click)

    def groups(self, sample: Sample) -> Ints:
        """The group of each row's domain, 0 if the other split lacks the domain."""
        place = np.searchsorted(self.domains, sample.domain)
        known = np.isin(sample.domain, self.domains)
        groups: Ints = np.where(known, place + 1, 0)
        return groups

    def members(self, sample: Sample, group: int) -> NDArray[np.bool_]:
        """The rows of a group."""
        if group == ALL:
            return np.ones(sample.rows, bool)
        members: NDArray[np.bool_] = sample.domain == self.domains[group - 1]
        return members

    @functools.cached_property
    def sizes(self) -> tuple[Sizes, Sizes]:
        """Effective number of rows of each group in the two samples.

        Having few users does not set two splits apart if both have the same users in the same
        proportions: if the rows of a user are equal, the variance of the difference between the
        splits is proportional to the sum, over users, of the squared difference of their
        shares. `clustered` is the effective number of rows with that variance.
        """
        shares = []
        for sample in (self.before, self.after):
            groups = self.groups(sample)
            inside = groups > 0
            group = np.concatenate([np.zeros(sample.rows, np.int64), groups[inside]])
            key = np.concatenate([sample.user_key, sample.user_key[inside]])
            weight = np.concatenate([sample.weight, np.ones(int(inside.sum()))])
            share = weight / np.bincount(group, weight, len(self.names))[group]
            shares.append((group, key, share))
        count = len(self.names)
        rows = [np.bincount(group, share**2, count) for group, _, share in shares]
        user = np.unique(np.concatenate([key for _, key, _ in shares]), return_inverse=True)[1]
        users = int(user.max()) + 1
        code = np.concatenate([group for group, _, _ in shares]) * users + user
        cells, place = np.unique(code, return_inverse=True)
        ends = len(shares[0][0])
        of_before = np.bincount(place[:ends], shares[0][2], len(cells))
        of_after = np.bincount(place[ends:], shares[1][2], len(cells))
        of_group = cells // users
        before = np.bincount(of_group, of_before**2, count)
        after = np.bincount(of_group, of_after**2, count)
        apart = np.bincount(of_group, (of_after - of_before) ** 2, count) / (before + after)
        clustered = [
            np.maximum(of * apart, row) for of, row in zip((before, after), rows, strict=True)
        ]
        return Sizes(1 / rows[0], 1 / clustered[0]), Sizes(1 / rows[1], 1 / clustered[1])

    def split_sizes(self, group: int, correlation: float) -> list[float]:
        """Effective number of rows of a group in the two splits, of which these are samples."""
        totals, pairs, shares = [], [], []
        for sample in (self.before, self.after):
            members = self.members(sample, group)
            weight, key = sample.weight[members], sample.user_key[members]
            users, user = np.unique(key, return_inverse=True)
            per_user = np.bincount(user, weight)
            totals.append(float(weight.sum()))
            pairs.append(float((per_user**2).sum() - (weight**2).sum()) / totals[-1] ** 2)
            shares.append((users, per_user / totals[-1]))
        _, first, second = np.intersect1d(shares[0][0], shares[1][0], return_indices=True)
        common = float((shares[0][1][first] * shares[1][1][second]).sum())
        apart = max(0.0, 1 - 2 * common / max(sum(pairs), 1e-12))
        return [
            float(effective_size(total, 1 / (1 / total + pair * apart), correlation))
            for total, pair in zip(totals, pairs, strict=True)
        ]

    def share(
        self, sample: Sample, members: NDArray[np.bool_], event: NDArray[np.bool_]
    ) -> float:
        """The share of a group's rows, by weight, on which an event happened."""
        weight = sample.weight[members]
        return float(weight[event[members]].sum() / weight.sum())

    def daily(
        self, members: NDArray[np.bool_], event: NDArray[np.bool_], correlation: float
    ) -> tuple[Floats, Floats]:
        """Bounds of the share of an event on each day of the training split.

        Args:
            members: Rows of the sample that are considered, `bool[rows]`.
            event: Rows on which the event happened, `bool[rows]`.
            correlation: How much the rows of a user resemble each other.

        Returns:
            Lower and upper bounds; of no day unless the splits follow each other in time.
        """
        sample = self.before
        day = np.unique(sample.day[members], return_inverse=True)[1]
        days = int(day.max(initial=-1)) + 1
        if not self.by_time or days < 2:
            return np.zeros(0), np.zeros(0)
        weight = sample.weight[members]
        share = np.bincount(day, weight * event[members], days) / np.bincount(day, weight)
        sizes = _sizes(day, sample.user[members], weight, days).of(correlation)
        return share_bounds(share, sizes, _DAY_ERROR)


def _sizes(group: Ints, user: Ints, weight: Floats, groups: int) -> Sizes:
    total = np.bincount(group, weight, groups)
    squares = np.bincount(group, weight**2, groups)
    users = int(user.max(initial=0)) + 1
    cells, place = np.unique(group * users + user, return_inverse=True)
    per_user = np.bincount(place, weight)
    per_group = np.bincount(cells // users, per_user**2, groups)
    with np.errstate(invalid='ignore', divide='ignore'):
        return Sizes(total**2 / squares, total**2 / per_group)

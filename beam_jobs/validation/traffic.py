"""Compares what two splits are made of: domains, days, users and clicks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from beam_jobs.validation.intervals import (
    Floats,
    correlation_within,
    rate_bounds,
    share_bounds,
)
from beam_jobs.validation.pair import ALL, Pair
from beam_jobs.validation.result import Change, part_of
from beam_jobs.validation.sample import Sample
from mdctr.days import day_name, day_number

# A user's share is judged among this many rows: a few rows are often those of one user.
_LEAST_ROWS = 100
_USER_FACTOR = 3.0
_SMOOTHING = 20.0  # rows with the mean click rate that are added to those of every value


@dataclass(frozen=True)
class _Counts:
    """Exact numbers of rows and clicks of a split, by name of the domain."""

    rows: dict[str, int]
    clicks: dict[str, int]

    @staticmethod
    def of(pair: Pair, sample: Sample) -> '_Counts':
        split = pair.manifest.splits[sample.split]
        return _Counts(split.examples, split.clicks)

    def total(self, domain: str | None) -> tuple[int, int]:
        """Rows and clicks of a domain, or of all."""
        if domain is None:
            return sum(self.rows.values()), sum(self.clicks.values())
        return self.rows.get(domain, 0), self.clicks.get(domain, 0)


def traffic_comparisons(pair: Pair) -> int:
    """Number of comparisons that the functions of this file make."""
    before, after = (pair.manifest.splits[sample.split] for sample in (pair.before, pair.after))
    domains = len(before.examples | after.examples)
    days = len(_test_days(pair)) if judges_days(pair) else 0
    return 2 * domains + 2 * len(pair.names) + days + 1


def domain_changes(pair: Pair, error: float) -> Iterator[Change]:
    """Compares each domain's share of the rows; one that is new or gone has the share 0.

    Args:
        pair: The splits.
        error: Probability with which each bound is wrong, at most.

    Yields:
        What failed, and the largest change otherwise.
    """
    counts = [_Counts.of(pair, sample) for sample in (pair.before, pair.after)]
    names = list(counts[0].rows | counts[1].rows)
    totals = [of.total(None)[0] for of in counts]
    shares = [
        np.array([of.rows.get(name, 0) for name in names]) / total
        for of, total in zip(counts, totals, strict=True)
    ]
    correlation = correlation_within(pair.before.user, pair.before.domain)
    sizes = pair.split_sizes(ALL, correlation)
    before, after = (
        share_bounds(share, np.full(len(names), size), error)
        for share, size in zip(shares, sizes, strict=True)
    )
    change = pair.config.max_domain_share_change or np.inf
    ratio = pair.config.max_domain_share_ratio or np.inf
    apart = _are_apart(before, after, change, ratio)
    ids = {domain.name: domain.id for domain in pair.manifest.domains}
    largest = int(np.argmax(np.abs(shares[1] - shares[0])))
    for index, name in enumerate(names):
        share, now = float(shares[0][index]), float(shares[1][index])
        is_new = share == 0
        failed = bool(apart[index])
        if failed:
            usual, factor = _usual_share(pair, ids.get(name, 0), share, correlation)
            failed = bool(_are_apart(before, after, change + usual, ratio * factor)[index])
        if is_new and after[0][index] < (pair.config.max_missing_change or np.inf):
            failed = False  # the report warns of it
        if not failed and index != largest:
            continue
        split, train = pair.after.split, pair.before.split
        yield Change(
            split,
            'domain',
            name,
            'share of the rows',
            share,
            now,
            pair.config.max_domain_share_change,
            failed,
            f'{split}: the domain {name} has {now:.2%} of the rows, and {share:.2%} in {train}.'
            if failed
            else '',
        )


def ctr_changes(pair: Pair, error: float) -> Iterator[Change]:
    """Compares the click rate of all rows and of each domain, by the odds of a click.

    Args:
        pair: The splits.
        error: Probability with which each bound is wrong, at most.

    Yields:
        That of all rows, and every domain's that failed.
    """
    limit = pair.config.max_ctr_odds_ratio
    counts = [_Counts.of(pair, sample) for sample in (pair.before, pair.after)]
    for group, domain in enumerate(pair.names):
        rows, clicks = zip(*(of.total(domain) for of in counts), strict=True)
        if not all(rows):
            continue
        rates = [click / row for click, row in zip(clicks, rows, strict=True)]
        sizes = pair.split_sizes(group, pair.click_correlation)
        (low, high), (low_after, high_after) = (
            share_bounds(rate, size, error) for rate, size in zip(rates, sizes, strict=True)
        )
        least = max(
            float(_odds(low_after) / _odds(high)), float(_odds(low) / _odds(high_after))
        )
        allowed = np.inf if limit is None else limit
        failed = least > allowed
        if failed:
            members = pair.members(pair.before, group)
            event = pair.before.click > 0
            days = pair.daily(members, event, pair.click_correlation)
            usual = float(_odds(pair.share(pair.before, members, event)))
            ratios = [1.0, *(_odds(days[0]) / usual), *(usual / _odds(days[1]))]
            allowed *= max(float(ratio) for ratio in ratios) ** 2
            failed = least > allowed
        if not failed and group != ALL:
            continue
        split, train = pair.after.split, pair.before.split
        where = part_of(split, domain)
        yield Change(
            split,
            'click',
            domain,
            'CTR',
            rates[0],
            rates[1],
            None,
            failed,
            f'{where}: the CTR is {rates[1]:.4f}, and {rates[0]:.4f} in {train}.'
            if failed
            else '',
        )


def user_shares(pair: Pair, error: float) -> Iterator[Change]:
    """Looks for one user who makes up much of a split, or of a domain of it.

    Args:
        pair: The splits.
        error: Probability with which each bound is wrong, at most.

    Yields:
        The largest share over all rows, and every domain's that failed.
    """
    limit = pair.config.max_user_share
    samples = (pair.before, pair.after)
    sizes = [of.independent for of in pair.sizes]
    exact = _Counts.of(pair, pair.after)
    for group, domain in enumerate(pair.names):
        before, after = (_largest_user(pair, sample, group) for sample in samples)
        high = float(share_bounds(before, sizes[0][group], error)[1])
        low = float(share_bounds(after, sizes[1][group], error)[0])
        failed = (
            limit is not None
            and exact.total(domain)[0] >= _LEAST_ROWS
            and low > max(limit, _USER_FACTOR * high)
        )
        if not failed and group != ALL:
            continue
        split = pair.after.split
        where = part_of(split, domain)
        yield Change(
            split,
            'user',
            domain,
            'largest share of a user',
            before,
            after,
            limit,
            failed,
            f'{where}: one user makes up {after:.1%} of the rows, and none more than '
            f'{before:.1%} in {pair.before.split}.'
            if failed
            else '',
        )


def judges_days(pair: Pair) -> bool:
    """Whether the splits consist of whole days."""
    by = pair.manifest.config.get('split', {}).get('by', 'days')
    return pair.by_time and by in ('days', 'periods') and pair.config.min_day_size is not None


def day_sizes(pair: Pair, error: float) -> Iterator[Change]:
    """Compares the number of rows of each day with that of the training days.

    Args:
        pair: The splits.
        error: Probability with which each bound is wrong, at most.

    Yields:
        The smallest day, and every one that failed.
    """
    limit = pair.config.min_day_size
    if limit is None or not judges_days(pair):
        return
    rows, users = _day_rows(pair.before)
    days = range(*_day_range(pair, pair.before.split))
    mean = sum(rows.values()) / len(days)
    # The smallest training day shows how small a day can be.
    high = [float(rate_bounds(users.get(day, 0.0), 0.025)[1]) for day in days]
    users_per_row = float(np.mean([users[day] / rows[day] for day in rows]))
    smallest = min(1.0, min(high) / max(mean * users_per_row, 1e-9))
    allowed = limit * smallest**2
    rows, users = _day_rows(pair.after)
    tested = _test_days(pair)
    smallest_day = min(tested, key=lambda day: rows.get(day, 0.0))
    for day in tested:
        count, effective = rows.get(day, 0.0), users.get(day, 0.0)
        per_row = effective / count if count else users_per_row
        most = float(rate_bounds(effective, error)[1]) / per_row
        failed = most < allowed * mean
        if not failed and day != smallest_day:
            continue
        split = pair.after.split
        yield Change(
            split,
            'day',
            None,
            f'rows of {day_name(day)}',
            mean,
            count,
            allowed * mean,
            failed,
            f'{split}: the day {day_name(day)} has about {count:,.0f} rows, and a day of '
            f'{pair.before.split} {mean:,.0f}.'
            if failed
            else '',
        )


def label_changes(pair: Pair, error: float) -> Iterator[Change]:
    """Looks for inverted labels: what was clicked in training is clicked less than the rest.

    A naive Bayes classifier of the training sample scores the rows of the other one. Histories,
    target statistics and the domain are left out.

    Args:
        pair: The splits.
        error: Probability with which the bound is wrong, at most.

    Yields:
        The AUC, if the split has both clicks and other rows.
    """
    score = _naive_bayes(pair)
    click = pair.after.click > 0
    if pair.config.min_label_auc is None or not click.any() or click.all():
        return
    ranks = rankdata(score)
    positives, negatives = int(click.sum()), int((~click).sum())
    auc = (ranks[click].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    clustered = float(pair.sizes[1].clustered[ALL] / pair.after.rows)
    # The variance is at most AUC (1 - AUC) / min(positives, negatives) (Birnbaum and Klose,
    # 1957): the bound of a share of that many rows.
    size = min(positives, negatives) * min(1.0, clustered)
    high = float(share_bounds(auc, size, error)[1])
    failed = high < pair.config.min_label_auc
    split, train = pair.after.split, pair.before.split
    yield Change(
        split,
        'click',
        None,
        'AUC of naive Bayes',
        0.5,
        float(auc),
        None,
        failed,
        f'{split}: labels look inverted: what was clicked more than the rest in {train} is '
        f'clicked less (AUC {auc:.3f}).'
        if failed
        else '',
    )


def new_domain_warnings(pair: Pair) -> Iterator[str]:
    """Names the domains that training lacks, and those that the other split lacks."""
    splits = pair.manifest.splits
    before, after = pair.before.split, pair.after.split
    for split, other in ((after, before), (before, after)):
        for name, rows in splits[split].examples.items():
            if name not in splits[other].examples:
                yield f'{split}: the domain {name} has {rows:,} rows, and none in {other}.'


def _are_apart(
    before: tuple[Floats, Floats], after: tuple[Floats, Floats], change: float, ratio: float
) -> NDArray[np.bool_]:
    """Whether shares are certainly farther apart than allowed, given their bounds.

    Args:
        before: Lower and upper bounds in the training split.
        after: Lower and upper bounds in the other split.
        change: Allowed difference.
        ratio: Allowed ratio.
    """
    apart: NDArray[np.bool_] = (
        np.maximum(after[0] - before[1], before[0] - after[1]) > change
    ) | (np.maximum(after[0] / before[1], before[0] / after[1]) > ratio)
    return apart


def _usual_share(
    pair: Pair, number: int, share: float, correlation: float
) -> tuple[float, float]:
    """How much more a domain's share may change, as it does between the training days.

    Args:
        pair: The splits.
        number: Id of the domain, 0 if it has none.
        share: The domain's share of the training split.
        correlation: How much the domains of a user's rows resemble each other.

    Returns:
        What the allowed change grows by, and the factor by which the allowed ratio grows.
    """
    sample = pair.before
    event = sample.domain == number if number else np.zeros(sample.rows, bool)
    lows, highs = pair.daily(np.ones(sample.rows, bool), event, correlation)
    if not len(lows):
        return 0.0, 1.0
    low, high = float(np.min(highs)), float(np.max(lows))
    factor = max(1.0, high / max(share, 1e-12), share / max(low, 1e-12))
    return 2 * max(0.0, high - share, share - low), factor**2


def _odds(share: float | Floats) -> Floats:
    odds: Floats = np.asarray(share) / np.maximum(1 - np.asarray(share), 1e-12)
    return np.maximum(odds, 1e-12)


def _largest_user(pair: Pair, sample: Sample, group: int) -> float:
    members = pair.members(sample, group)
    weight = sample.weight[members]
    return float(np.bincount(sample.user[members], weight).max() / weight.sum())


def _day_range(pair: Pair, split: str) -> tuple[int, int]:
    first, last = pair.manifest.splits[split].days
    return day_number(first), day_number(last) + 1


def _test_days(pair: Pair) -> list[int]:
    return list(range(*_day_range(pair, pair.after.split)))


def _day_rows(sample: Sample) -> tuple[dict[int, float], dict[int, float]]:
    """Rows of the split and effective number of users, by day."""
    rows, users = {}, {}
    for day in np.unique(sample.day).tolist():
        members = sample.day == day
        weight = sample.weight[members]
        per_user = np.bincount(sample.user[members], weight)
        rows[day] = float(weight.sum())
        users[day] = float(weight.sum() ** 2 / (per_user**2).sum())
    return rows, users


def _naive_bayes(pair: Pair) -> Floats:
    """Log-odds of a click of the rows of the compared split."""
    kinds = {
        feature['name']: feature.get('kind')
        for feature in pair.manifest.config.get('features', [])
    }
    before, after = pair.before, pair.after
    mean = float(before.click.mean())
    score = np.zeros(after.rows)
    for feature in pair.manifest.features:
        if (
            feature.history
            or kinds.get(feature.name) == 'statistic'
            or feature.name not in before.columns
            or feature.name not in after.columns
        ):
            continue
        rows, values = before.values(feature.name)
        known, place = np.unique(values, return_inverse=True)
        clicks = np.bincount(place, before.click[rows]) + _SMOOTHING * mean
        total = np.bincount(place) + _SMOOTHING
        log_odds = np.log(np.maximum(clicks, 1e-9) / np.maximum(total - clicks, 1e-9))
        log_odds -= np.log(max(mean, 1e-9) / max(1 - mean, 1e-9))
        rows, values = after.values(feature.name)
        index = np.clip(np.searchsorted(known, values), 0, len(known) - 1)
        found: NDArray[np.bool_] = known[index] == values
        of_value = np.where(found, log_odds[index], 0.0)
        count = np.maximum(np.bincount(rows, minlength=after.rows), 1)
        score += np.bincount(rows, of_value, after.rows) / count
    return score

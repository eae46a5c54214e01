"""Compares the distributions of the features of two splits, over all and in each domain."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from beam_jobs.validation.intervals import Floats, Ints, correlation_within, share_bounds
from beam_jobs.validation.pair import ALL, Pair
from beam_jobs.validation.result import Change, part_of
from beam_jobs.validation.sample import EMPTY, Sample
from mdctr.dataset import Dataset
from mdctr.manifest import Feature

# In a split by time one hour or weekday follows another, and users come and go.
NATURAL_DRIFT = ('hour', 'weekday', 'user_id')
# A feature of the past grows by nature. It fails only if it was there and then is gone: from
# missing on less than the first share of the rows to missing on more than the second.
_WAS_THERE, _IS_GONE = 0.5, 0.9
# Days to come may differ from the training days by this many times what those differ.
_DAY_FACTOR = 2.0
_NOVELTY_PART = 5

ValueName = Callable[[Feature, int], str]


@dataclass(frozen=True)
class FeatureShares:
    """Shares of the values of a feature in each group of two splits, one row a comparison.

    Attributes:
        feature: The feature.
        group: Group, `int64[n]`.
        value: Value; for numbers, all values from 1 up to it; 0 or `EMPTY` where it is
            missing; `int64[n]`.
        before: Share of the group's rows in the training split, `float64[n]`.
        after: Share in the other split, `float64[n]`.
        size_before: Effective number of rows, `float64[n]`.
        size_after: Effective number of rows, `float64[n]`.
        allowed: Allowed change of the share, `float64[n]`; infinite if it is not judged.
        correlation: How much the rows of a user resemble each other.
        of_past: Whether the feature is a history or a target statistic.
    """

    feature: Feature
    group: Ints
    value: Ints
    before: Floats
    after: Floats
    size_before: Floats
    size_after: Floats
    allowed: Floats
    correlation: float
    of_past: bool

    @property
    def comparisons(self) -> int:
        """Number of comparisons that can fail."""
        return int(np.isfinite(self.allowed).sum())

    @property
    def cumulative(self) -> bool:
        """Whether a value stands for the values up to it."""
        return self.feature.kind == 'numeric'


def feature_shares(pair: Pair) -> Iterator[FeatureShares]:
    """Counts the values of every feature that both samples have."""
    kinds, columns = _configured(pair)
    for feature in pair.manifest.features:
        if not all(_has_feature(sample, feature) for sample in (pair.before, pair.after)):
            continue
        rows, values = pair.before.values(feature.name)
        first = np.concatenate([[True], rows[1:] != rows[:-1]])
        correlation = correlation_within(pair.before.user, values[first])
        group, value, before, after = _aligned(
            feature,
            _weights(pair, pair.before, rows, values),
            _weights(pair, pair.after, *pair.after.values(feature.name)),
        )
        sizes = [of.of(correlation) for of in pair.sizes]
        of_past = feature.history or kinds.get(feature.name) == 'statistic'
        natural = pair.by_time and columns.get(feature.name) in NATURAL_DRIFT
        yield FeatureShares(
            feature,
            group,
            value,
            before,
            after,
            sizes[0][group],
            sizes[1][group],
            _allowed(pair, feature, value, of_past, natural),
            correlation,
            of_past,
        )


def feature_changes(
    pair: Pair, shares: FeatureShares, error: float, value_name: ValueName
) -> Iterator[Change]:
    """Judges the changes of a feature.

    Args:
        pair: The splits.
        shares: Shares of the feature's values.
        error: Probability with which each bound is wrong, at most.
        value_name: Names a feature's value in the words of the log.

    Yields:
        The largest change over all rows, and the worst that failed in each group.
    """
    failed = dict(_failures(pair, shares, error))
    overall = np.flatnonzero(shares.group == ALL)
    if len(overall) and ALL not in failed:
        change = np.abs(shares.after - shares.before)[overall]
        judged = np.isfinite(shares.allowed[overall])
        index = int(overall[np.argmax(change + judged)])
        failed = {ALL: (index, float(shares.allowed[index]), False), **failed}
    for group, (index, allowed, is_failure) in sorted(failed.items()):
        yield _change(pair, shares, group, index, allowed, is_failure, value_name)


def value_namer(dataset: Dataset) -> ValueName:
    """Names the values of features as the log does.

    Args:
        dataset: The dataset.
    """
    vocabularies: dict[str, list[str]] = {}

    def name(feature: Feature, value: int) -> str:
        if value == EMPTY:
            return 'empty lists'
        if feature.kind == 'numeric':
            if value == 0:
                return 'missing numbers'
            return f'numbers below {feature.boundaries[value - 1]:g}'
        if value == 0:
            return 'unseen or missing values'
        assert feature.vocabulary is not None, 'only numeric features have none'
        if feature.vocabulary not in vocabularies:
            vocabularies[feature.vocabulary] = dataset.vocabulary(feature.vocabulary)
        known = vocabularies[feature.vocabulary]
        return known[value - 1] if value <= len(known) else f'the id {value}'

    return name


def _failures(
    pair: Pair, shares: FeatureShares, error: float
) -> Iterator[tuple[int, tuple[int, float, bool]]]:
    """Each group with a failure: index of the worst comparison, what was allowed, True."""
    change = np.abs(shares.after - shares.before)
    candidates = np.flatnonzero(change > shares.allowed)
    before = share_bounds(shares.before[candidates], shares.size_before[candidates], error)
    after = share_bounds(shares.after[candidates], shares.size_after[candidates], error)
    if shares.of_past:
        gone = (after[0] > _IS_GONE) & (before[1] < _WAS_THERE)
        for index in candidates[gone].tolist():
            yield int(shares.group[index]), (index, float(shares.allowed[index]), True)
        return
    least = np.maximum(after[0] - before[1], before[0] - after[1])
    worst: dict[int, tuple[float, int, float]] = {}
    for index, certain in zip(candidates.tolist(), least.tolist(), strict=True):
        if certain <= shares.allowed[index]:
            continue
        allowed = float(shares.allowed[index]) + _usual_change(pair, shares, index)
        group = int(shares.group[index])
        excess = certain - allowed
        if excess > 0 and excess > worst.get(group, (0.0, 0, 0.0))[0]:
            worst[group] = excess, index, allowed
    for group, (_, index, allowed) in worst.items():
        yield group, (index, allowed, True)


def _usual_change(pair: Pair, shares: FeatureShares, index: int) -> float:
    """How much more than `allowed` a share may change, as it does in the training split."""
    feature, value = shares.feature, int(shares.value[index])
    members = pair.members(pair.before, int(shares.group[index]))
    event = pair.before.has(feature.name, value, shares.cumulative and value > 0)
    low, high = pair.daily(members, event, shares.correlation)
    share = float(shares.before[index])
    usual = _DAY_FACTOR * float(np.max(np.maximum(low - share, share - high), initial=0.0))
    if value == 0 and feature.vocabulary is not None and shares.after[index] > share:
        usual += (_DAY_FACTOR if pair.by_time else 1.0) * _novelty(pair, feature, members)
    return usual


def _novelty(pair: Pair, feature: Feature, members: np.ndarray) -> float:
    """The share of rows of the last part of the training split with a value that is new then.

    As many values are unseen in the compared split as are new in training: the vocabulary is
    of the training split. In a random split the parts are random.
    """
    sample = pair.before
    rows, values = sample.values(feature.name)
    order = sample.timestamp if pair.by_time else np.arange(sample.rows)  # by hash
    ordered = np.sort(order[members])
    late = order[rows] > ordered[len(ordered) - 1 - len(ordered) // _NOVELTY_PART]
    if not (late & members[rows]).any():
        return 1.0
    new = late & ~np.isin(values, values[~late])
    of_group = members[rows]
    return len(np.unique(rows[new & of_group])) / len(np.unique(rows[late & of_group]))


def _change(
    pair: Pair,
    shares: FeatureShares,
    group: int,
    index: int,
    allowed: float,
    failed: bool,
    value_name: ValueName,
) -> Change:
    name, domain = shares.feature.name, pair.names[group]
    value = value_name(shares.feature, int(shares.value[index]))
    before, after = float(shares.before[index]), float(shares.after[index])
    split, train = pair.after.split, pair.before.split
    where = part_of(split, domain)
    sentence = (
        f'{where}: {name} drifted from {train}: the share of {value} changed from '
        f'{before:.3f} to {after:.3f}, and a change of {allowed:.2g} is allowed.'
    )
    if shares.of_past:
        sentence = (
            f'{where}: {name} is missing on {after:.1%} of the rows, and on {before:.1%} of '
            f'those of {train}.'
        )
    judged = not shares.of_past and np.isfinite(allowed)
    return Change(
        split,
        name,
        domain,
        f'share of {value}',
        before,
        after,
        allowed if judged or failed else None,
        failed,
        sentence if failed else '',
    )


def _has_feature(sample: Sample, feature: Feature) -> bool:
    """Whether the sample has the feature, in the manifest's form; if not, TFDV says so."""
    if feature.name not in sample.columns:
        return False
    lengths = np.diff(sample.columns[feature.name].offsets.to_numpy())
    return feature.kind == 'sequence' or bool((lengths <= 1).all())


def _weights(pair: Pair, sample: Sample, rows: Ints, values: Ints) -> tuple[Ints, Ints, Floats]:
    """Group, value and share of every value of every group, not yet added up."""
    groups = pair.groups(sample)
    overall = sample.weight / sample.weight.sum()
    in_domain = 1 / np.maximum(np.bincount(groups, minlength=len(pair.names)), 1)[groups]
    inside = groups[rows] > 0
    return (
        np.concatenate([np.full(len(rows), ALL), groups[rows][inside]]),
        np.concatenate([values, values[inside]]),
        np.concatenate([overall[rows], in_domain[rows][inside]]),
    )


def _aligned(
    feature: Feature,
    before: tuple[Ints, Ints, Floats],
    after: tuple[Ints, Ints, Floats],
) -> tuple[Ints, Ints, Floats, Floats]:
    """Groups, values, and shares in both splits; for numbers, shares of the values up to it."""
    highest = max(int(values.max(initial=0)) for _, values, _ in (before, after))
    width = max(highest, feature.size - 1) + 2
    codes = [group * width + value + 1 for group, value, _ in (before, after)]
    if feature.kind == 'numeric':
        groups = max(int(group.max(initial=0)) for group, _, _ in (before, after)) + 1
        cells = np.arange(groups * width)
    else:
        cells = np.unique(np.concatenate(codes))
    shares: list[Floats] = [
        np.asarray(np.bincount(np.searchsorted(cells, code), weights, len(cells)), np.float64)
        for code, (_, _, weights) in zip(codes, (before, after), strict=True)
    ]
    group, value = cells // width, cells % width - 1
    if feature.kind == 'numeric':
        for share in shares:
            table = share.reshape(-1, width)
            table[:, 2:] = np.cumsum(table[:, 2:], axis=1)
        kept = (value >= 0) & (value < feature.size - 1)
        group, value, shares = group[kept], value[kept], [share[kept] for share in shares]
    return group, value, shares[0], shares[1]


def _allowed(pair: Pair, feature: Feature, value: Ints, of_past: bool, natural: bool) -> Floats:
    config = pair.config
    change: float | None = config.max_share_change
    missing: float | None = config.max_missing_change
    if feature.name in config.feature_max_share_change:
        change = config.feature_max_share_change[feature.name]
        missing = None if change is None else missing
    elif natural:
        change = missing = None
    is_missing = value == (EMPTY if feature.kind == 'sequence' else 0)
    if of_past:
        change, missing = None, None if missing is None else _IS_GONE - _WAS_THERE
    elif feature.kind == 'sequence':
        is_missing |= value == 0
    return np.where(is_missing, _or_infinite(missing), _or_infinite(change))


def _or_infinite(value: float | None) -> float:
    return np.inf if value is None else value


def _configured(pair: Pair) -> tuple[dict[str, str], dict[str, str]]:
    """Kinds and columns of the features, by name."""
    features = pair.manifest.config.get('features', [])
    kinds = {feature['name']: feature.get('kind', 'categorical') for feature in features}
    columns = {feature.name: feature.name for feature in pair.manifest.features}
    columns |= {
        feature['name']: feature.get('column') or feature['name'] for feature in features
    }
    return kinds, columns

"""AUC, GAUC, log loss and PCOC. All parts of the project use these definitions.

All functions take columns of equal length: labels (0 or 1), scores (predicted click
probabilities) and, for metrics by user, `user_keys` (any integers). An undefined metric, such
as the AUC of a single class, is None and never NaN.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mdctr.runs import run_starts

# Scores are clipped to [CLIP, 1 - CLIP] in the log loss, so that a certain but wrong prediction
# costs 16 rather than infinity. float32 cannot represent probabilities closer to 1.
CLIP = 1e-7
METRICS = (
    'impressions',
    'clicks',
    'ctr',
    'auc',
    'gauc',
    'gauc_users',
    'gauc_users_left_out',
    'log_loss',
    'pcoc',
)


class Gauc(NamedTuple):
    """A GAUC and the numbers of users it includes.

    Attributes:
        value: GAUC; None if no user has both classes.
        users_used: Number of users with both classes.
        users_left_out: Number of users with only one class.
        impressions_used: Number of impressions of the users with both classes.
    """

    value: float | None
    users_used: int
    users_left_out: int
    impressions_used: int


def auc(
    labels: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any] | None = None
) -> float | None:
    """The exact area under the ROC curve; a tie between a click and a non-click counts half.

    Args:
        labels: Labels, 0 or 1, `[rows]`.
        scores: Scores, larger for more likely clicks, `[rows]`.
        weights: Weights of the rows, not negative, `[rows]`; absent, 1.

    Returns:
        A number in [0, 1]; None unless both classes have a positive weight.

    Raises:
        ValueError: Columns differ in length, a label is not 0 or 1, or a score is not finite.
    """
    labels, scores = _checked(labels, scores)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(scores, kind='stable')
    first = run_starts(scores[order])
    positive = _run_sums((weights * labels)[order], first)
    negative = _run_sums((weights * (1 - labels))[order], first)
    return _area(positive, negative)


def gauc(user_keys: NDArray[Any], labels: NDArray[Any], scores: NDArray[Any]) -> Gauc:
    """The mean AUC of the users, weighted by impressions (STAR, eq. 9; CTNet, eq. 6).

    A user with only one class has no AUC and is left out.

    Args:
        user_keys: User of each impression, `int[rows]`.
        labels: Labels, 0 or 1, `[rows]`.
        scores: Scores, `[rows]`.

    Raises:
        ValueError: As for `auc`.
    """
    labels, scores = _checked(labels, scores)
    users, code = np.unique(np.asarray(user_keys), return_inverse=True)
    areas = user_aucs(code, len(users), labels, scores)
    impressions = np.bincount(code, minlength=len(users))
    used = ~np.isnan(areas)
    total = int(impressions[used].sum())
    value = float(areas[used] @ impressions[used] / total) if total else None
    return Gauc(value, int(used.sum()), int(len(users) - used.sum()), total)


def user_aucs(
    codes: NDArray[Any], num_users: int, labels: NDArray[Any], scores: NDArray[Any]
) -> NDArray[Any]:
    """The AUC of each user, `float64[num_users]`; NaN for a user with only one class.

    Args:
        codes: User of each row, in [0, num_users), `int[rows]`.
        num_users: Number of users.
        labels: Labels, 0 or 1, `[rows]`.
        scores: Scores, `[rows]`.
    """
    order = np.lexsort((scores, codes))
    codes, labels, scores = codes[order], labels[order].astype(np.float64), scores[order]
    first = run_starts(codes, scores)  # runs of tied rows of a user
    positive, negative = _run_sums(labels, first), _run_sums(1 - labels, first)
    user = codes[first]
    negatives = np.bincount(user, negative, num_users)
    positives = np.bincount(user, positive, num_users)
    before = np.cumsum(negative) - negative
    before -= (np.cumsum(negatives) - negatives)[user]  # only those of the same user
    won = np.bincount(user, positive * (before + negative / 2), num_users)
    pairs = positives * negatives
    return np.divide(won, pairs, out=np.full(num_users, np.nan), where=pairs > 0)


def log_loss(
    labels: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any] | None = None
) -> float | None:
    """The mean negative log likelihood in nats, with scores clipped to [CLIP, 1 - CLIP].

    Raises:
        ValueError: As for `auc`.
    """
    labels, scores = _checked(labels, scores)
    return _mean(row_losses(labels, scores), weights)


def row_losses(labels: NDArray[Any], scores: NDArray[Any]) -> NDArray[Any]:
    """The negative log likelihood of each row, `float64[rows]`; see `log_loss`."""
    scores = np.clip(np.asarray(scores, np.float64), CLIP, 1 - CLIP)
    return -np.log(np.where(labels > 0, scores, 1 - scores))


def pcoc(
    labels: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any] | None = None
) -> float | None:
    """Predicted CTR divided by observed CTR (STAR 4.4); ideally 1. None without clicks.

    Raises:
        ValueError: As for `auc`.
    """
    labels, scores = _checked(labels, scores)
    clicked, predicted = _mean(labels, weights), _mean(scores, weights)
    return predicted / clicked if clicked and predicted is not None else None


def domain_metrics(
    domains: NDArray[Any],
    user_keys: NDArray[Any],
    labels: NDArray[Any],
    scores: NDArray[Any],
    names: Mapping[int, str],
    weights: NDArray[Any] | None = None,
) -> dict[str, Any]:
    """All metrics, of all rows and of each domain that has rows.

    Args:
        domains: Domain ids, `int[rows]`.
        user_keys: User of each impression, `int[rows]`.
        labels: Labels, 0 or 1, `[rows]`.
        scores: Scores, `[rows]`.
        names: Names of domain ids. Without a name, the id 0 is called `unseen` and another id
            by its number.
        weights: Number of impressions of the log that each row represents, `[rows]`; absent, 1.
            They apply to `ctr`, `log_loss` and `pcoc`. A weight that all negatives share does
            not change an AUC, and GAUC weights users by the rows of the sample.

    Returns:
        `{'overall': {...}, 'domains': {name: {...}}}`, each with the keys of `METRICS`; an
        undefined metric is None. Domains are in the order of their ids.

    Raises:
        ValueError: As for `auc`.
    """
    labels, scores = _checked(labels, scores)
    domains, user_keys = np.asarray(domains), np.asarray(user_keys)
    weights = None if weights is None else np.asarray(weights)
    return {
        'overall': _metrics(user_keys, labels, scores, weights),
        'domains': {
            name: _metrics(
                user_keys[rows],
                labels[rows],
                scores[rows],
                None if weights is None else weights[rows],
            )
            for name, _, rows in rows_by_domain(domains, names)
        },
    }


def rows_by_domain(
    domains: NDArray[Any], names: Mapping[int, str]
) -> list[tuple[str, int, NDArray[Any]]]:
    """The name, id and row numbers of each domain that has rows, in the order of ids.

    The id is appended to a name that is already taken, for example by a domain called `unseen`.
    """
    order = np.argsort(domains, kind='stable')
    first = run_starts(np.asarray(domains)[order])
    ids = [int(domain) for domain in np.asarray(domains)[order][first]]
    distinct: list[str] = []
    for domain in ids:
        name = names.get(domain, 'unseen' if domain == 0 else str(domain))
        distinct.append(f'{name} ({domain})' if name in distinct else name)
    return list(zip(distinct, ids, np.split(order, first[1:]), strict=True)) if ids else []


def _metrics(
    user_keys: NDArray[Any],
    labels: NDArray[Any],
    scores: NDArray[Any],
    weights: NDArray[Any] | None,
) -> dict[str, Any]:
    grouped = gauc(user_keys, labels, scores)
    return {
        'impressions': len(labels),
        'clicks': int(labels.sum()),
        'ctr': _mean(labels, weights),
        'auc': auc(labels, scores),
        'gauc': grouped.value,
        'gauc_users': grouped.users_used,
        'gauc_users_left_out': grouped.users_left_out,
        'log_loss': log_loss(labels, scores, weights),
        'pcoc': pcoc(labels, scores, weights),
    }


def _checked(labels: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(
            f'Labels {labels.shape} and scores {scores.shape} must be columns of one length.'
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError('Labels must be 0 or 1.')
    if not np.isfinite(scores).all():
        raise ValueError('Scores must be finite.')
    return labels.astype(np.int64), scores


def _area(positive: NDArray[Any], negative: NDArray[Any]) -> float | None:
    """The AUC from the weights of both classes in each run of tied scores, ascending."""
    pairs = positive.sum() * negative.sum()
    if not pairs > 0:
        return None
    return float(positive @ (np.cumsum(negative) - negative / 2) / pairs)


def _mean(values: NDArray[Any], weights: NDArray[Any] | None) -> float | None:
    if not len(values):
        return None
    if weights is None:
        return float(np.mean(values, dtype=np.float64))
    total = float(np.sum(weights, dtype=np.float64))
    return float(np.dot(np.asarray(values, np.float64), weights) / total) if total > 0 else None


def _run_sums(values: NDArray[Any], first: NDArray[Any]) -> NDArray[Any]:
    return np.add.reduceat(values, first) if len(first) else np.zeros(0)

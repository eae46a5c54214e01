"""AUC, GAUC, log loss and PCOC: each defined here and nowhere else.

All take columns of equal length: labels (0 or 1), scores (predicted probabilities of a click)
and, where users count, `user_keys` (any integers). What a sample does not define, such as the
AUC of one class, is None and never NaN.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

# Scores are clipped to [CLIP, 1 - CLIP] in the log loss: a certain and wrong prediction costs
# 16 and not infinity. float32 cannot tell probabilities nearer to 1 apart.
CLIP = 1e-7
METRICS = ('impressions', 'clicks', 'ctr', 'auc', 'gauc', 'gauc_users', 'gauc_users_left_out',
           'log_loss', 'pcoc')


class Gauc(NamedTuple):
    """A GAUC and what it is made of.

    Attributes:
        value: the GAUC, None where no user has both classes.
        users_used: users with both classes.
        users_left_out: users with clicks alone, or with none.
        impressions_used: of the users used.
    """

    value: float | None
    users_used: int
    users_left_out: int
    impressions_used: int


def auc(labels: np.ndarray, scores: np.ndarray,
        weights: np.ndarray | None = None) -> float | None:
    """The area under the ROC curve, exact: a tie of a click and a non-click counts half.

    Args:
        labels: [rows], 0 or 1.
        scores: [rows], larger for likelier clicks.
        weights: [rows], not negative; one each when absent.

    Returns:
        A number in [0, 1]; None unless both classes have weight.

    Raises:
        ValueError: columns of different lengths, labels other than 0 and 1, scores not finite.
    """
    labels, scores = _checked(labels, scores)
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(scores, kind='stable')
    first = _run_starts(scores[order])
    positive = _run_sums((weights * labels)[order], first)
    negative = _run_sums((weights * (1 - labels))[order], first)
    return _area(positive, negative)


def gauc(user_keys: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> Gauc:
    """AUC of each user, weighted by the user's impressions (STAR, eq. 9; CTNet, eq. 6).

    A user without a click, or with nothing but clicks, has no AUC and is left out, of the
    weights too.

    Args:
        user_keys: [rows], who each impression was shown to.
        labels: [rows], 0 or 1.
        scores: [rows].

    Raises:
        ValueError: as `auc`.
    """
    labels, scores = _checked(labels, scores)
    users, code = np.unique(np.asarray(user_keys), return_inverse=True)
    areas = user_aucs(code, len(users), labels, scores)
    impressions = np.bincount(code, minlength=len(users))
    used = ~np.isnan(areas)
    total = int(impressions[used].sum())
    value = float(areas[used] @ impressions[used] / total) if total else None
    return Gauc(value, int(used.sum()), int(len(users) - used.sum()), total)


def user_aucs(codes: np.ndarray, num_users: int, labels: np.ndarray,
              scores: np.ndarray) -> np.ndarray:
    """The AUC of each user, [num_users]; NaN where a user has one class.

    Args:
        codes: [rows], whose row it is, in [0, num_users).
        num_users: how many users there are.
        labels: [rows], 0 or 1.
        scores: [rows].
    """
    order = np.lexsort((scores, codes))
    codes, labels, scores = codes[order], labels[order].astype(np.float64), scores[order]
    first = np.flatnonzero(_changes(codes) | _changes(scores))  # runs of tied rows of a user
    positive, negative = _run_sums(labels, first), _run_sums(1 - labels, first)
    user = codes[first]
    negatives = np.bincount(user, negative, num_users)
    positives = np.bincount(user, positive, num_users)
    before = np.cumsum(negative) - negative
    before -= (np.cumsum(negatives) - negatives)[user]  # of the same user
    won = np.bincount(user, positive * (before + negative / 2), num_users)
    pairs = positives * negatives
    return np.divide(won, pairs, out=np.full(num_users, np.nan), where=pairs > 0)


def log_loss(labels: np.ndarray, scores: np.ndarray,
             weights: np.ndarray | None = None) -> float | None:
    """The mean negative log likelihood in nats, scores clipped to [CLIP, 1 - CLIP].

    Raises:
        ValueError: as `auc`.
    """
    labels, scores = _checked(labels, scores)
    return _mean(row_losses(labels, scores), weights)


def row_losses(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The negative log likelihood of each row, [rows]; see `log_loss`."""
    scores = np.clip(np.asarray(scores, np.float64), CLIP, 1 - CLIP)
    return -np.log(np.where(labels > 0, scores, 1 - scores))


def pcoc(labels: np.ndarray, scores: np.ndarray,
         weights: np.ndarray | None = None) -> float | None:
    """Predicted CTR over CTR (STAR 4.4): the mean score by the mean label, best at 1.

    None where there is no click.

    Raises:
        ValueError: as `auc`.
    """
    labels, scores = _checked(labels, scores)
    clicked = _mean(labels, weights)
    return _mean(scores, weights) / clicked if clicked else None


def domain_metrics(domains: np.ndarray, user_keys: np.ndarray, labels: np.ndarray,
                   scores: np.ndarray, names: Mapping[int, str],
                   weights: np.ndarray | None = None) -> dict[str, Any]:
    """Every metric, of all rows and of each domain that has rows.

    Args:
        domains: [rows], domain ids.
        user_keys: [rows].
        labels: [rows], 0 or 1.
        scores: [rows].
        names: of domain ids; the name of the id 0 is `unseen` unless it is given, and another
            id without a name is called by its number.
        weights: [rows], how many impressions of the log a row stands for, one each when
            absent. Weighted are `ctr`, `log_loss` and `pcoc`; a weight that negatives share
            leaves an AUC as it is, and a GAUC weighs the rows that are there.

    Returns:
        `{'overall': {...}, 'domains': {name: {...}}}` with the keys of `METRICS` in each;
        None where a metric is undefined. Domains are in the order of their ids.

    Raises:
        ValueError: as `auc`.
    """
    labels, scores = _checked(labels, scores)
    domains, user_keys = np.asarray(domains), np.asarray(user_keys)
    columns = (user_keys, labels, scores, weights)
    return {'overall': _metrics(*columns),
            'domains': {name: _metrics(*(None if column is None else np.asarray(column)[rows]
                                         for column in columns))
                        for name, _, rows in rows_by_domain(domains, names)}}


def rows_by_domain(domains: np.ndarray,
                   names: Mapping[int, str]) -> list[tuple[str, int, np.ndarray]]:
    """Name, id and row numbers of each domain that has rows, in the order of ids.

    Where a name is taken, as by a domain that is called `unseen`, the id goes after it.
    """
    order = np.argsort(domains, kind='stable')
    first = _run_starts(np.asarray(domains)[order])
    ids = [int(domain) for domain in np.asarray(domains)[order][first]]
    called: list[str] = []
    for domain in ids:
        name = names.get(domain, 'unseen' if domain == 0 else str(domain))
        called.append(f'{name} ({domain})' if name in called else name)
    return list(zip(called, ids, np.split(order, first[1:]), strict=True)) if ids else []


def _metrics(user_keys: np.ndarray, labels: np.ndarray, scores: np.ndarray,
             weights: np.ndarray | None) -> dict[str, Any]:
    grouped = gauc(user_keys, labels, scores)
    return {'impressions': len(labels), 'clicks': int(labels.sum()),
            'ctr': _mean(labels, weights), 'auc': auc(labels, scores), 'gauc': grouped.value,
            'gauc_users': grouped.users_used, 'gauc_users_left_out': grouped.users_left_out,
            'log_loss': log_loss(labels, scores, weights),
            'pcoc': pcoc(labels, scores, weights)}


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f'Labels {labels.shape} and scores {scores.shape} must be columns of '
                         'one length.')
    if not np.isin(labels, (0, 1)).all():
        raise ValueError('Labels must be 0 or 1.')
    if not np.isfinite(scores).all():
        raise ValueError('Scores must be finite.')
    return labels.astype(np.int64), scores


def _area(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """The AUC of the weights of both classes in runs of tied scores, ascending."""
    pairs = positive.sum() * negative.sum()
    if not pairs > 0:
        return None
    return float(positive @ (np.cumsum(negative) - negative / 2) / pairs)


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float | None:
    if not len(values):
        return None
    if weights is None:
        return float(np.mean(values, dtype=np.float64))
    total = float(np.sum(weights, dtype=np.float64))
    return float(np.dot(np.asarray(values, np.float64), weights) / total) if total > 0 else None


def _changes(ordered: np.ndarray) -> np.ndarray:
    """Where a value differs from the one before it; the first always does."""
    changes = np.ones(len(ordered), bool)
    changes[1:] = ordered[1:] != ordered[:-1]
    return changes


def _run_starts(ordered: np.ndarray) -> np.ndarray:
    return np.flatnonzero(_changes(ordered))


def _run_sums(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, first) if len(first) else np.zeros(0)

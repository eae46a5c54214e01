"""Metrics of new and old users and items (CTNet 4.6, Table 5).

A user or item is new to a model that has not been trained on any row of it. Who has been is
told in one of two ways:

*   a size: ids from 1 up to it, without it, are old. It is what `Manifest.ids_known(splits)`
    says of a dataset that is split by periods: the ids that had been seen, in any domain, by
    the end of what the model was trained on. Of a dataset that does not grow it is the
    feature's `size`, so that those without an id, 0, are the new ones.
*   an array of bool [size]: the ids that are old, as `trainer.data.seen_ids.seen_ids` finds
    them in the rows of given splits and domains. CTNet's new users are new to the target
    domain, and most of them have been in the source domain: they need this.

For example, the target B's day after the splits that a model was trained on:

    old = seen_ids(dataset, trained_splits, ['user_id', 'item_id'], domains=['B'])
    cold_start_metrics(user_id, item_id, user_key, click, score, old['user_id'],
                       old['item_id'])

AUCs of different groups are not comparable with each other (other users, other items): what
compares is two models' metrics of one group.
"""

from typing import Any

import numpy as np

from mdctr.metrics import domain_metrics

GROUPS = ('new users', 'old users', 'new items', 'old items')


def cold_start_metrics(
    user_ids: np.ndarray,
    item_ids: np.ndarray,
    user_keys: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray,
    users: int | np.ndarray,
    items: int | np.ndarray,
    weights: np.ndarray | None = None,
) -> dict[str, dict[str, Any]]:
    """The metrics of each group of `GROUPS`.

    Args:
        user_ids, item_ids: [rows], ids as the dataset has them, 0 for those without one.
        user_keys: [rows], who each impression was shown to: it tells apart new users, who
            share the id 0.
        labels: [rows], 0 or 1.
        scores: [rows].
        users, items: who is old: a size or bool [size], see above.
        weights: [rows], as of `domain_metrics`.

    Returns:
        By group, AUC, GAUC and all else of `mdctr.metrics.METRICS`; None what a group,
        which may have no rows, does not define.

    Raises:
        ValueError: as `auc`; or columns of different lengths.
    """
    user_keys, labels, scores = (np.asarray(column) for column in (user_keys, labels, scores))
    groups: dict[str, np.ndarray] = {}
    for name, ids, known in (('users', user_ids, users), ('items', item_ids, items)):
        old = is_old(ids, known)
        if old.shape != labels.shape:
            raise ValueError(
                f'{len(old)} ids of {name} and {len(labels)} labels must be '
                'columns of one length.'
            )
        groups |= {f'new {name}': ~old, f'old {name}': old}
    return {
        name: domain_metrics(
            np.zeros(rows.sum(), np.int64),
            user_keys[rows],
            labels[rows],
            scores[rows],
            {},
            None if weights is None else np.asarray(weights)[rows],
        )['overall']
        for name, rows in groups.items()
    }


def is_old(ids: np.ndarray, known: int | np.ndarray) -> np.ndarray:
    """Which of `ids` [rows] are known, bool [rows]; the id 0 never is.

    Args:
        ids: not negative.
        known: a size or bool [size]; ids beyond it are new.
    """
    ids = np.asarray(ids)
    if isinstance(known, int | np.integer):
        return (ids > 0) & (ids < known)
    padded = np.append(np.asarray(known, bool), False)
    return (ids > 0) & padded[np.minimum(ids, len(padded) - 1)]

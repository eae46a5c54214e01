"""Comparison of a model with a reference on the same rows, overall and by domain.

Whether a difference is one is decided by the paired bootstrap over users: replicate r of both
models draws the same users, so the standard error of the differences is that of the paired
difference. A model is refused only if the confidence interval of how much worse it is lies
entirely beyond the margin; a difference within its noise refuses nothing. The level is shared
by all comparisons of an evaluation (Bonferroni), so that a model that is as good as the
reference is refused with at most the configured probability, however many domains there are.
"""

from collections.abc import Iterator
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np

from beam_jobs.evaluation.bootstrap import Replicates

# Below this many users with both classes, the GAUC of a domain is too noisy for the normal
# approximation of the bootstrap; its AUC is compared instead.
MIN_GAUC_USERS = 50


class Comparison(NamedTuple):
    """How much worse a model is than its reference in one metric of one scope.

    Attributes:
        scope: `overall` for all rows, else the name of a domain.
        is_domain: Whether the scope is a domain (a domain may be called `overall`).
        metric: `gauc`, `auc` or `pcoc`.
        value: The model's metric.
        reference: The reference's metric.
        loss: How much worse the model is: reference - value for GAUC and AUC, and
            |ln value| - |ln reference| for PCOC. Negative if the model is better.
        error: Standard error of `loss` by the bootstrap.
    """

    scope: str
    is_domain: bool
    metric: Literal['gauc', 'auc', 'pcoc']
    value: float
    reference: float
    loss: float
    error: float

    def lower_bound(self, level: float) -> float:
        """The loss that is exceeded with confidence 1 - `level` (one-sided)."""
        return self.loss - NormalDist().inv_cdf(1 - level) * self.error


def compare_metric(
    scope: str,
    is_domain: bool,
    metric: Literal['gauc', 'auc', 'pcoc'],
    values: dict[str, Any],
    reference: dict[str, Any],
    replicates: Replicates,
    reference_replicates: Replicates,
) -> Comparison | None:
    """Compares one metric; None if it or its standard error is undefined for either model.

    Args:
        scope: See `Comparison`.
        is_domain: See `Comparison`.
        metric: Metric to compare.
        values: Metrics of the model in this scope.
        reference: Metrics of the reference in this scope.
        replicates: Bootstrap replicates of the model, each [replicates].
        reference_replicates: Those of the reference, drawn from the same users.
    """
    value, before = values[metric], reference[metric]
    if value is None or before is None:
        return None
    drawn, drawn_before = replicates[metric], reference_replicates[metric]
    if metric == 'pcoc':
        if min(value, before) <= 0:
            return None
        with np.errstate(divide='ignore', invalid='ignore'):
            losses = np.abs(np.log(drawn)) - np.abs(np.log(drawn_before))
        loss = abs(float(np.log(value))) - abs(float(np.log(before)))
    else:
        losses = drawn_before - drawn
        loss = before - value
    losses = losses[np.isfinite(losses)]
    if len(losses) < 2:
        return None
    return Comparison(
        scope, is_domain, metric, value, before, loss, float(np.std(losses, ddof=1))
    )


def compare_domains(
    metrics: dict[str, Any],
    reference: dict[str, Any],
    replicates: dict[str, Any],
    reference_replicates: dict[str, Any],
    min_clicks: int,
    wanted: frozenset[str],
) -> Iterator[Comparison]:
    """Compares the domains that have enough clicks, in ranking (GAUC or AUC) and PCOC.

    Args:
        metrics: Metrics of the model by domain name.
        reference: Metrics of the reference by domain name, of the same rows.
        replicates: Bootstrap replicates of the model by domain name.
        reference_replicates: Those of the reference.
        min_clicks: Number of clicks, and of impressions without one, that a domain must have.
        wanted: Which of `ranking` and `pcoc` to compare.
    """
    for name, values in metrics.items():
        clicks = values['clicks']
        if min(clicks, values['impressions'] - clicks) < min_clicks or name not in reference:
            continue
        by_user = values['gauc'] is not None and values['gauc_users'] >= MIN_GAUC_USERS
        ranking: Literal['gauc', 'auc'] = 'gauc' if by_user else 'auc'
        chosen: list[Literal['gauc', 'auc', 'pcoc']] = []
        if 'ranking' in wanted:
            chosen.append(ranking)
        if 'pcoc' in wanted:
            chosen.append('pcoc')
        for metric in chosen:
            comparison = compare_metric(
                name,
                True,
                metric,
                values,
                reference[name],
                replicates[name],
                reference_replicates[name],
            )
            if comparison is not None:
                yield comparison

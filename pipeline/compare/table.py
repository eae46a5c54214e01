"""Results of many runs as one table of methods."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

METRICS = ('auc', 'gauc', 'log_loss', 'pcoc')


@dataclass(frozen=True)
class Result:
    """One finished run.

    Attributes:
        method: model and framework, as the tables name them.
        seed: of the run; runs of the same seed are paired.
        metrics: `{'overall': {...}, 'domains': {name: {...}}}` of the test split, as
            `beam_jobs.metrics.domain_metrics` makes it.
        bins: AUC by bin of domains, head first (`auc_by_bin`); None where undefined.
        seconds: of training.
        parameters: trained numbers of the model; None of a reference from outside.
    """

    method: str
    seed: int
    metrics: dict[str, Any]
    bins: list[float | None]
    seconds: float
    parameters: int | None


def domain_bins(impressions: dict[str, int], bins: int = 5) -> list[list[str]]:
    """Domains in bins of about equally many impressions, from head to tail.

    AdaSparse 4.3.1 ranks the domains by size and merges them "based on equal-frequency
    segmentation". A domain lies in the bin in which the middle of its impressions falls, so
    that a domain is never cut; a bin can be empty where one domain is larger than a bin.

    Args:
        impressions: by domain.
        bins: how many.

    Returns:
        The names of each bin's domains.
    """
    ordered = sorted(impressions, key=lambda name: (-impressions[name], name))
    sizes = np.array([impressions[name] for name in ordered], float)
    total = sizes.sum()
    middles = np.cumsum(sizes) - sizes / 2
    made: list[list[str]] = [[] for _ in range(bins)]
    for name, middle in zip(ordered, middles, strict=True):
        made[min(int(middle / total * bins), bins - 1) if total else 0].append(name)
    return made


def summarize(results: Sequence[Result], baseline: str,
              ceiling: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """One row a method: mean, deviation, significance, ranks, uplift, bins, cost.

    Args:
        results: finished runs; methods may lack seeds.
        baseline: the method that the others are compared with.
        ceiling: metrics of the true click probabilities of simulated data, shaped as a run's.

    Returns:
        Rows in the order in which methods first occur, each with, of every metric, `<metric>`
        (mean over seeds), `<metric>_std` (sample deviation, None for one seed) and
        `<metric>_p` (two-sided paired t-test against the baseline on common seeds, None for
        fewer than two or for the baseline); `domain_auc` (mean over domains, MAMDR Table V);
        `rank` (average over domains of the rank of the mean AUC among the methods, 1 the
        best, ties shared: MAMDR's RANK); `uplift` (share of domains whose mean AUC is above
        the baseline's: AdaSparse's UPR, of AUC); `bins`; `seconds`, `parameters`; `seeds`;
        with a ceiling `auc_closed` and `gauc_closed`, the share of the distance from the
        baseline to the ceiling that the method closes.
    """
    methods = list(dict.fromkeys(result.method for result in results))
    runs = {method: {result.seed: result for result in results if result.method == method}
            for method in methods}
    by_domain = {method: _domain_auc(runs[method].values()) for method in methods}
    ranks = _ranks(by_domain)
    rows = []
    for method in methods:
        own = list(runs[method].values())
        row: dict[str, Any] = {'method': method, 'seeds': len(own)}
        for metric in METRICS:
            values = {seed: run.metrics['overall'][metric]
                      for seed, run in runs[method].items()
                      if run.metrics['overall'][metric] is not None}
            others = ({seed: run.metrics['overall'][metric]
                       for seed, run in runs[baseline].items()}
                      if method != baseline and baseline in runs else {})
            row[metric] = _mean(values.values())
            row[f'{metric}_std'] = _deviation(values.values())
            row[f'{metric}_p'] = _paired_p(values, others)
        defined = by_domain[method]
        row['domain_auc'] = _mean(defined.values())
        row['rank'] = ranks.get(method)
        row['uplift'] = (_uplift(defined, by_domain[baseline])
                         if method != baseline and baseline in runs else None)
        row['bins'] = [_mean(v for v in column if v is not None)
                       for column in zip(*(run.bins for run in own), strict=True)]
        row['seconds'] = _mean(run.seconds for run in own)
        row['parameters'] = own[0].parameters
        rows.append(row)
    if ceiling is not None:
        _close_the_distance(rows, baseline, ceiling)
    return rows


def _close_the_distance(rows: list[dict], baseline: str, ceiling: dict[str, Any]) -> None:
    start = next((row for row in rows if row['method'] == baseline), None)
    for row in rows:
        for metric in ('auc', 'gauc'):
            top = ceiling['overall'].get(metric)
            known = start is not None and None not in (top, start[metric], row[metric])
            distance = top - start[metric] if known else 0
            row[f'{metric}_closed'] = ((row[metric] - start[metric]) / distance
                                       if distance else None)


def _domain_auc(runs) -> dict[str, float]:
    collected: dict[str, list[float]] = {}
    for run in runs:
        for name, of in run.metrics['domains'].items():
            if of['auc'] is not None:
                collected.setdefault(name, []).append(of['auc'])
    return {name: float(np.mean(values)) for name, values in collected.items()}


def _ranks(by_domain: dict[str, dict[str, float]]) -> dict[str, float]:
    from scipy.stats import rankdata

    methods = list(by_domain)
    common = set.intersection(*(set(of) for of in by_domain.values())) if by_domain else set()
    if not common:
        return {}
    table = np.array([[by_domain[method][name] for name in sorted(common)]
                      for method in methods])
    return dict(zip(methods, rankdata(-table, axis=0).mean(axis=1).tolist(), strict=True))


def _uplift(own: dict[str, float], base: dict[str, float]) -> float | None:
    common = sorted(set(own) & set(base))
    if not common:
        return None
    return float(np.mean([own[name] > base[name] for name in common]))


def _mean(values) -> float | None:
    values = [value for value in values if value is not None]
    return float(np.mean(values)) if values else None


def _deviation(values) -> float | None:
    values = list(values)
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _paired_p(values: dict[int, float], others: dict[int, float]) -> float | None:
    from scipy.stats import ttest_rel

    seeds = sorted(set(values) & {seed for seed, value in others.items()
                                  if value is not None})
    if len(seeds) < 2:
        return None
    one, other = ([of[seed] for seed in seeds] for of in (values, others))
    if np.ptp(np.subtract(one, other)) == 0:  # the test statistic is 0/0 or infinite
        return 1.0 if one == other else None
    p = float(ttest_rel(one, other).pvalue)
    return None if math.isnan(p) else p

"""Summarizes the runs of a comparison as a table of methods."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

METRICS = ('auc', 'gauc', 'log_loss', 'pcoc')


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Attributes:
        method: Name of the method.
        seed: Random seed; runs of the same seed are paired.
        metrics: Metrics of the scored split, `{'overall': {...}, 'domains': {name: {...}}}`, as
            returned by `mdctr.metrics.domain_metrics`.
        bins: AUC of each bin of domains (`domain_bins`), head first; None if undefined.
        seconds: Training time in seconds.
        parameters: Number of trainable parameters; None for a reference.
    """

    method: str
    seed: int
    metrics: dict[str, Any]
    bins: list[float | None]
    seconds: float
    parameters: int | None


def domain_bins(impressions: dict[str, int], bins: int = 5) -> list[list[str]]:
    """Groups domains into bins with about the same number of impressions, from head to tail.

    AdaSparse (4.3.1) ranks the domains by size and merges them "based on equal-frequency
    segmentation". A domain belongs to the bin that contains the middle of its impressions, so
    that no domain is divided; a bin can be empty if a domain is larger than a bin.

    Args:
        impressions: Number of impressions, by domain name.
        bins: Number of bins.

    Returns:
        The names of the domains of each bin.
    """
    ordered = sorted(impressions, key=lambda name: (-impressions[name], name))
    sizes = np.array([impressions[name] for name in ordered], float)
    total = sizes.sum()
    middles = np.cumsum(sizes) - sizes / 2
    names: list[list[str]] = [[] for _ in range(bins)]
    for name, middle in zip(ordered, middles, strict=True):
        names[min(int(middle / total * bins), bins - 1) if total else 0].append(name)
    return names


def summarize(
    results: Sequence[RunResult], baseline: str, ceiling: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Summarizes runs as a table with a row for each method.

    Args:
        results: Finished runs; a method may lack some of the seeds.
        baseline: Name of the method that the others are compared with.
        ceiling: Metrics of the true click probabilities of simulated data, in the form of
            `RunResult.metrics`.

    Returns:
        Rows in the order in which methods first occur, with the keys

        * `method` and `seeds` (number of runs);
        * `<metric>` for each of `METRICS` (mean over seeds), `<metric>_std` (sample standard
          deviation; None for one seed) and `<metric>_p` (two-sided paired t-test against the
          baseline on common seeds; None for the baseline and for fewer than two seeds);
        * `domain_auc`: mean AUC over domains (MAMDR, Table V);
        * `rank`: rank of the mean AUC among the methods, averaged over domains; 1 is the best,
          and ties share the mean rank (MAMDR's RANK);
        * `uplift`: share of domains whose mean AUC is above the baseline's (AdaSparse's UPR,
          for AUC); None for the baseline;
        * `bins`: mean AUC of each bin of domains;
        * `seconds`, `parameters`;
        * with a ceiling, `auc_closed` and `gauc_closed`: share of the distance from the
          baseline to the ceiling that the method closes.
    """
    methods = list(dict.fromkeys(result.method for result in results))
    runs = {
        method: {result.seed: result for result in results if result.method == method}
        for method in methods
    }
    by_domain = {method: _domain_auc(runs[method].values()) for method in methods}
    ranks = _ranks(by_domain)
    rows = []
    for method in methods:
        method_runs = list(runs[method].values())
        base = runs.get(baseline) if method != baseline else None
        row: dict[str, Any] = {'method': method, 'seeds': len(method_runs)}
        for metric in METRICS:
            values = _by_seed(runs[method], metric)
            row[metric] = _mean(values.values())
            row[f'{metric}_std'] = _standard_deviation(values.values())
            row[f'{metric}_p'] = _paired_p(values, _by_seed(base, metric)) if base else None
        row['domain_auc'] = _mean(by_domain[method].values())
        row['rank'] = ranks.get(method)
        row['uplift'] = _uplift(by_domain[method], by_domain[baseline]) if base else None
        row['bins'] = [
            _mean(column) for column in zip(*(run.bins for run in method_runs), strict=True)
        ]
        row['seconds'] = _mean(run.seconds for run in method_runs)
        row['parameters'] = method_runs[0].parameters
        rows.append(row)
    if ceiling is not None:
        _add_closed_distance(rows, baseline, ceiling)
    return rows


def _add_closed_distance(
    rows: list[dict[str, Any]], baseline: str, ceiling: dict[str, Any]
) -> None:
    base = next((row for row in rows if row['method'] == baseline), {})
    for row in rows:
        for metric in ('auc', 'gauc'):
            start, end, value = base.get(metric), ceiling['overall'].get(metric), row[metric]
            defined = start is not None and end is not None and value is not None
            row[f'{metric}_closed'] = (
                (value - start) / (end - start) if defined and end != start else None
            )


def _by_seed(runs: dict[int, RunResult], metric: str) -> dict[int, float]:
    """An overall metric by seed, without the runs in which it is undefined."""
    values = {seed: run.metrics['overall'][metric] for seed, run in runs.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def _domain_auc(runs: Iterable[RunResult]) -> dict[str, float]:
    """The mean AUC over runs, by domain."""
    collected: dict[str, list[float]] = {}
    for run in runs:
        for name, values in run.metrics['domains'].items():
            if values['auc'] is not None:
                collected.setdefault(name, []).append(values['auc'])
    return {name: float(np.mean(values)) for name, values in collected.items()}


def _ranks(by_domain: dict[str, dict[str, float]]) -> dict[str, float]:
    """The mean rank of each method over the domains in which all methods have an AUC."""
    from scipy.stats import rankdata

    if not by_domain:
        return {}
    common = sorted(set.intersection(*(set(values) for values in by_domain.values())))
    if not common:
        return {}
    table = np.array([[values[name] for name in common] for values in by_domain.values()])
    return dict(zip(by_domain, rankdata(-table, axis=0).mean(axis=1).tolist(), strict=True))


def _uplift(values: dict[str, float], base: dict[str, float]) -> float | None:
    common = sorted(set(values) & set(base))
    if not common:
        return None
    return float(np.mean([values[name] > base[name] for name in common]))


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _standard_deviation(values: Iterable[float]) -> float | None:
    values = list(values)
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _paired_p(values: dict[int, float], base: dict[int, float]) -> float | None:
    """The p-value of a paired t-test over the seeds that both have."""
    from scipy.stats import ttest_rel

    seeds = sorted(set(values) & set(base))
    if len(seeds) < 2:
        return None
    first, second = ([by_seed[seed] for seed in seeds] for by_seed in (values, base))
    if np.ptp(np.subtract(first, second)) == 0:  # the test statistic is 0/0 or infinite
        return 1.0 if first == second else None
    p = float(ttest_rel(first, second).pvalue)
    return None if math.isnan(p) else p

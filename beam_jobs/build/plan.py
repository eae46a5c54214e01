"""The plan of a build: what examples of any bucket need to know of the whole log."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.arrow_files import fetch_arrow, read_arrow, write_arrow
from beam_jobs.build.job import Job
from beam_jobs.build.log_summary import LogSummary
from beam_jobs.build.staging import (
    catalogue_path,
    items_path,
    lookup_path,
    plan_path,
    table_path,
)
from beam_jobs.build.summaries import Growth, PlanInputs
from beam_jobs.config import (
    CategoricalFeature,
    DatasetConfig,
    FeatureConfig,
    HistoryFeature,
    NumericFeature,
    StatisticFeature,
)
from beam_jobs.features.catalogue import Catalogue
from beam_jobs.features.lookup import Lookup
from beam_jobs.features.negative_sampling import ctr_ratio_of, number_of_negatives
from beam_jobs.rows.columns import array
from beam_jobs.rows.mergeable import sorted_codes, sum_by
from beam_jobs.rows.splits import OUTSIDE, Splits, training_splits
from mdctr import storage
from mdctr.days import day_name
from mdctr.errors import NoRowsError, UserError
from mdctr.manifest import Feature
from mdctr.settings import parse, to_mapping


@dataclass(frozen=True)
class Plan:
    """The small part of the plan; its tables are in files.

    Attributes:
        features: Features of the manifest.
        splits: Names of the splits, by number.
        days: First and last day of each split's rows, by name.
        duplicates: Number of repeated impressions that were dropped.
        outside: Number of rows in no split.
        ctr_ratios: CTR ratio of each domain, by name.
        expected_examples: Approximate number of examples of each domain, in the order of
            `Domains.names`, by the name of the split.
        split_ends: Time by which each split has ended, in seconds; None if it is the log's
            end.
        known_domains: See `Manifest.known_domains`.
    """

    features: list[Feature]
    splits: list[str]
    days: dict[str, tuple[str, str]]
    duplicates: int
    outside: int
    ctr_ratios: dict[str, float]
    expected_examples: dict[str, list[float]]
    split_ends: list[float | None]
    known_domains: dict[str, int] = field(default_factory=dict)

    def write(self, staging: str) -> None:
        """Writes the plan."""
        storage.write_json(plan_path(staging), to_mapping(self))

    @staticmethod
    def read(staging: str) -> 'Plan':
        """Reads the plan that `write` wrote."""
        path = plan_path(staging)
        return parse(Plan, storage.read_json(path), path)


@dataclass(frozen=True)
class Domains:
    """Every domain of the log, in the order of the names.

    Attributes:
        names: Distinct names, ascending.
        ids: 1 and up, most frequent in training first; 0 for domains that training lacks;
            `int64[domains]`.
        positives: Clicks inside the splits, `int64[domains]`.
        negatives: Negatives to sample, `int64[domains]`.
    """

    names: pa.Array
    ids: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    def write(self, staging: str) -> None:
        """Writes the domains."""
        table = pa.table(
            {
                'name': self.names,
                'id': self.ids,
                'positives': self.positives,
                'negatives': self.negatives,
            }
        )
        write_arrow(table_path(staging, 'domain-plan'), table)

    @staticmethod
    def read(staging: str) -> 'Domains':
        """Reads the domains that `write` wrote."""
        table = fetch_arrow(table_path(staging, 'domain-plan'))
        numbers = (table[name].to_numpy() for name in ('id', 'positives', 'negatives'))
        return Domains(table['name'].chunk(0), *numbers)


def make_plan(job: Job, splits: Splits, log: LogSummary, inputs: PlanInputs) -> Plan:
    """Makes the plan from the merged summaries, and writes it.

    Args:
        job: The build.
        splits: The splits.
        log: Summary of the log.
        inputs: What `Summary.write` returned, merged.

    Raises:
        UserError: A split has no rows, or a CTR ratio is missing, or a domain is named that
            the log does not have.
    """
    config, staging = job.config, job.staging
    counts = read_arrow(table_path(staging, 'domains'))
    split, rows = counts['split'].to_numpy(), counts['rows'].to_numpy()
    _require_rows(splits, split, rows, log)
    codes, names = sorted_codes(array(counts, 'domain'))
    if job.extension is None:
        _require_domains(config, names)
    clicks = np.where(split < 0, 0, counts['clicks'].to_numpy())
    positives = sum_by(codes, clicks, len(names))
    ratios = _ctr_ratios(config, names, positives)
    negatives = [
        number_of_negatives(count, ratios[name]) if name in ratios else 0
        for name, count in zip(names.to_pylist(), positives.tolist(), strict=True)
    ]
    ids = Lookup(lookup_path(staging, 'domain')).ids(names)
    domains = Domains(names, ids, positives, np.asarray(negatives, np.int64))
    domains.write(staging)
    if config.sampling.ctr_ratio is None:
        expected = clicks + config.sampling.keep_negatives * (rows - clicks)
    else:
        expected = clicks * (1 + domains.negatives / np.maximum(positives, 1))[codes]
        _number_positives(staging, counts, codes, clicks)
        _write_catalogue(config, staging, names)
    known = {
        name: _known_sizes(training_splits(splits.names), growth)
        for name, growth in inputs.growth.items()
    }
    plan = Plan(
        _extended_features(job.extension.features, known)
        if job.extension
        else [_feature(feature, inputs, known) for feature in config.features],
        splits.names,
        _observed_days(staging, splits),
        inputs.duplicates,
        int(rows[split == OUTSIDE].sum()),
        ratios,
        {
            name: np.bincount(codes[split == n], expected[split == n], len(names)).tolist()
            for n, name in enumerate(splits.names)
        },
        splits.ends(),
        known.get('domain', {}),
    )
    plan.write(staging)
    return plan


def first_positive_numbers(staging: str, bucket: int, splits: int, domains: int) -> np.ndarray:
    """The number of the bucket's first positive in each split and domain.

    Args:
        staging: The staging directory.
        bucket: Number of the bucket.
        splits: Number of splits.
        domains: Number of domains.

    Returns:
        `int64[splits, domains]`.
    """
    table = fetch_arrow(table_path(staging, 'positive-numbers'))
    begin, end = np.searchsorted(table['bucket'].to_numpy(), [bucket, bucket + 1])
    table = table.slice(begin, end - begin)
    first = np.zeros((splits, domains), np.int64)
    first[table['split'].to_numpy(), table['domain'].to_numpy()] = table['first'].to_numpy()
    return first


def _require_rows(splits: Splits, split: np.ndarray, rows: np.ndarray, log: LogSummary) -> None:
    for number, name in enumerate(splits.names):
        if not rows[split == number].sum():
            where = ' to '.join(splits.days.get(name, ())) or 'its share of the log'
            raise NoRowsError(
                f'The split {name} ({where}) has no rows: the log covers {log.days_covered()}.'
            )


def _require_domains(config: DatasetConfig, names: pa.Array) -> None:
    known = names.to_pylist()
    unknown = sorted(set(config.domains or []) - set(known))
    if unknown:
        raise UserError(
            f'domains names {unknown[0]}, which is not in the log; it has {_list(known)}.'
        )
    for feature in config.features:
        if not isinstance(feature, HistoryFeature):
            continue
        unknown = sorted(set(feature.domains or []) - set(known))
        if unknown:
            raise UserError(
                f'History {feature.name} selects domain {unknown[0]}, which is not in the '
                f'log; it has {_list(known)}.'
            )


def _ctr_ratios(
    config: DatasetConfig, names: pa.Array, positives: np.ndarray
) -> dict[str, float]:
    configured = config.sampling.ctr_ratio
    known = names.to_pylist()
    if isinstance(configured, dict):
        unknown = sorted(set(configured) - set(known))
        if unknown:
            raise UserError(
                f'sampling.ctr_ratio names the domain {unknown[0]}, which is not in the log; '
                f'it has {_list(known)}.'
            )
        missing = [
            name
            for name, count in zip(known, positives.tolist(), strict=True)
            if count and name not in configured
        ]
        if missing:
            raise UserError(
                f'sampling.ctr_ratio has no ratio for the domain {missing[0]}: add one, or '
                'give one number for all domains.'
            )
    ratios = {name: ctr_ratio_of(name, config.sampling, config.seed) for name in known}
    return {name: ratio for name, ratio in ratios.items() if ratio is not None}


def _number_positives(
    staging: str, counts: pa.Table, domain: np.ndarray, clicks: np.ndarray
) -> None:
    """Writes where each bucket's numbers begin: in the order of domain, split, bucket."""
    split, bucket = counts['split'].to_numpy(), counts['bucket'].to_numpy()
    inside = np.flatnonzero(split >= 0)
    order = inside[np.lexsort((bucket[inside], split[inside], domain[inside]))]
    before = np.cumsum(clicks[order]) - clicks[order]
    first = before - before[np.searchsorted(domain[order], domain[order])]
    by_bucket = np.argsort(bucket[order], kind='stable')
    order, first = order[by_bucket], first[by_bucket]
    columns = {
        'bucket': bucket[order],
        'split': split[order],
        'domain': domain[order],
        'first': first,
    }
    write_arrow(table_path(staging, 'positive-numbers'), pa.table(columns))


def _write_catalogue(config: DatasetConfig, staging: str, domains: pa.Array) -> None:
    table = read_arrow(table_path(staging, 'catalogue'))
    item, items = sorted_codes(array(table, 'item'))
    Lookup.write(items_path(staging), items)
    Catalogue.write(
        catalogue_path(staging),
        pc.index_in(array(table, 'domain'), domains).to_numpy().astype(np.int64),
        item.astype(np.int64),
        table['day'].to_numpy(),
        table['rows'].to_numpy(),
        len(items),
        config.sampling.popularity_exponent,
    )


def _known_sizes(splits: list[str], growth: Growth) -> dict[str, int]:
    """The size of a vocabulary by the end of each training split, the id 0 included.

    Args:
        splits: Names of the training splits, whose states are 1 and up.
        growth: Growth of the vocabulary; states after the last add nothing.
    """
    added = np.pad(growth.added, (0, len(splits) + 1 - len(growth.added))).astype(np.int64)
    sizes = 1 + growth.before + np.cumsum(added)
    return dict(zip(splits, sizes[1:].tolist(), strict=True))


def _extended_features(
    features: list[Feature], known: Mapping[str, dict[str, int]]
) -> list[Feature]:
    """The features of an extended dataset, with the values that are added."""
    return [
        feature
        if feature.vocabulary is None or feature.vocabulary not in known
        else dataclasses.replace(
            feature,
            size=max(known[feature.vocabulary].values()),
            known=feature.known | known[feature.vocabulary],
        )
        for feature in features
    ]


def _feature(
    feature: FeatureConfig, inputs: PlanInputs, known: Mapping[str, dict[str, int]]
) -> Feature:
    """A feature as the manifest has it."""
    if isinstance(feature, (NumericFeature, StatisticFeature)):
        boundaries = inputs.boundaries[feature.name]
        return Feature(
            feature.name, 'numeric', feature.owner, len(boundaries) + 2, boundaries=boundaries
        )
    vocabulary = feature.feature if isinstance(feature, HistoryFeature) else feature.name
    sizes = known.get(vocabulary, {})
    return Feature(
        feature.name,
        'categorical' if isinstance(feature, CategoricalFeature) else 'sequence',
        feature.owner,
        max(sizes.values()) if sizes else inputs.vocabulary_sizes[vocabulary] + 1,
        vocabulary,
        1 if isinstance(feature, CategoricalFeature) else feature.max_length,
        history=isinstance(feature, HistoryFeature),
        domains=(feature.domains or []) if isinstance(feature, HistoryFeature) else [],
        known=sizes,
    )


def _observed_days(staging: str, splits: Splits) -> dict[str, tuple[str, str]]:
    """The configured days of each split, or else the days of its rows."""
    table = read_arrow(table_path(staging, 'days'))
    split, day = table['split'].to_numpy(), table['day'].to_numpy()
    observed: dict[str, tuple[str, str]] = {}
    for number, name in enumerate(splits.names):
        days = day[split == number]
        observed[name] = splits.days.get(name) or (day_name(days.min()), day_name(days.max()))
    return observed


def _list(names: list[Any]) -> str:
    return ', '.join(names[:20]) + (', ...' if len(names) > 20 else '')

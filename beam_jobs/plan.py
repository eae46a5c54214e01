"""What has to be known of the whole log before examples can be made of any bucket."""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_jobs.atomic import read_arrow, write_arrow, write_text
from beam_jobs.config import DatasetConfig
from beam_jobs.dataset import Feature, read_vocabulary, vocabulary_path
from beam_jobs.encode import of_item
from beam_jobs.errors import UserError
from beam_jobs.options import from_mapping, to_mapping
from beam_jobs.past_counts import (
    PastCounts,
    combination_name,
    numbers_in_training,
    past_path,
    statistics_of,
)
from beam_jobs.rows import column_of
from beam_jobs.sampling import Catalogue, negatives_of, ratio_of, weights
from beam_jobs.splits import OUTSIDE, training_splits
from beam_jobs.summaries import (
    FirstSeen,
    NumberCounts,
    TableCounts,
    ValueCounts,
    sorted_codes,
    sum_by,
)
from beam_jobs.survey import Survey
from beam_jobs.vocabulary import Lookup, boundaries, by_frequency, by_state, write_lines

Summary = ValueCounts | NumberCounts | TableCounts | FirstSeen


def write_summary(key: str, summary: Summary, config: DatasetConfig, directory: str,
                  staging: str, base: str | None = None) -> Any:
    """Keeps a merged summary on disk, and returns the little that is passed on.

    Args:
        key: `vocabulary/<name>`, `growth/<name>`, `numbers/<name>`, `domains`, `days`,
            `past/<combination>`, `catalogue`, `items` or `duplicates`.
        summary: of the whole log.
        config: the `dataset` section.
        directory: of the dataset that is being built.
        staging: of what is needed only while it is built.
        base: the directory of the dataset that is extended.

    Returns:
        A vocabulary's number of values; of one that grows, what it has to begin with and what
        each state adds; a numeric feature's boundaries, and of a combination those of all
        its statistics by name; the number of duplicates.
    """
    kind, _, name = key.partition('/')
    if kind == 'past':
        return _write_past(name, summary, config, staging)
    feature = next((f for f in config.features if f.name == name), None)
    if kind == 'growth':
        old = pa.array(read_vocabulary(base, name) if base else [], pa.string())
        new, state = by_state(summary, feature.min_count if feature else 1)
        fresh = pc.invert(pc.is_in(new, old)).to_numpy(zero_copy_only=False)
        vocabulary = pa.concat_arrays([old, new.filter(pa.array(fresh))])
        write_lines(vocabulary_path(directory, name), vocabulary)
        Lookup.write(lookup_path(staging, name), vocabulary)
        return len(old), np.bincount(state[fresh]).tolist()
    if kind == 'vocabulary':
        vocabulary = by_frequency(summary, feature.min_count if feature else 1)
        write_lines(vocabulary_path(directory, name), vocabulary)
        Lookup.write(lookup_path(staging, name), vocabulary)
        return len(vocabulary)
    if kind == 'numbers':
        return boundaries(summary, feature.buckets)
    if kind == 'duplicates':
        return int(summary.table['rows'][0].as_py())
    write_arrow(_path(staging, kind), summary.table)
    return None


def _write_past(name: str, counts: TableCounts, config: DatasetConfig,
                staging: str) -> dict[str, list[float]]:
    path = past_path(staging, name)
    PastCounts.write(path, counts)
    return {feature.name: boundaries(numbers_in_training(path, counts, feature),
                                     feature.buckets)
            for feature in statistics_of(config) if combination_name(feature) == name}


def lookup_path(staging: str, vocabulary: str) -> str:
    """Where the lookup of a vocabulary is while a dataset is built."""
    return os.path.join(staging, 'lookup', f'{vocabulary}.arrow')


@dataclass(frozen=True)
class Plan:
    """The merged knowledge about the log, small; the large parts stay in files.

    Attributes:
        features: as the manifest has them.
        splits: the names of the splits, by number.
        days: by split, the first and last day of its rows.
        duplicates, outside: rows that were dropped.
        ratios: CTR ratio by domain.
        examples: by split, about how many examples there will be.
        known_domains: as the manifest has it.
    """

    features: list[Feature]
    splits: list[str]
    days: dict[str, tuple[str, str]]
    duplicates: int
    outside: int
    ratios: dict[str, float]
    examples: dict[str, float]
    known_domains: dict[str, int] = field(default_factory=dict)

    def write(self, staging: str) -> None:
        write_text(os.path.join(staging, 'plan.json'), json.dumps(to_mapping(self)))

    @staticmethod
    def read(staging: str) -> 'Plan':
        path = os.path.join(staging, 'plan.json')
        with open(path, encoding='utf-8') as file:
            return from_mapping(Plan, json.load(file), path)


@dataclass(frozen=True)
class Domains:
    """Every domain of the log, in the order of the names.

    Attributes:
        names: distinct and ascending.
        ids: 1 and up, most frequent in training first; 0 for those that training lacks.
        positives: clicks inside the splits.
        negatives: how many are to be sampled.
    """

    names: pa.Array
    ids: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray

    @staticmethod
    def read(staging: str) -> 'Domains':
        table = read_arrow(_path(staging, 'domain-plan'))
        return Domains(table['name'].chunk(0), *(table[name].to_numpy() for name in (
            'id', 'positives', 'negatives')))


def make_plan(config: DatasetConfig, staging: str, splits: list[str],
              days: Mapping[str, tuple[str, str]], survey: Survey,
              summaries: Mapping[str, Any], features: list[Feature] | None = None) -> Plan:
    """Draws up the plan from the summaries and writes it to `staging`.

    Args:
        config: the `dataset` section.
        staging: where `write_summary` kept the summaries.
        splits: the names of the splits.
        days: of the splits whose days the configuration fixes.
        survey: of the log.
        summaries: what `write_summary` returned, by key.
        features: of the dataset that is extended, where there is one.

    Raises:
        UserError: a split has no rows, or a CTR ratio is of no domain, or is missing.
    """
    counts = read_arrow(_path(staging, 'domains'))
    split = counts['split'].to_numpy()
    rows = counts['rows'].to_numpy()
    for number, name in enumerate(splits):
        if not rows[split == number].sum():
            where = ' to '.join(days[name]) if name in days else 'its share of the log'
            raise UserError(f'The split {name} ({where}) has no rows: the log covers '
                            f'{survey.days_covered()}.')
    codes, names = sorted_codes(_column(counts, 'domain'))
    if features is None:
        _check_domains(config, names)
    clicks = np.where(split < 0, 0, counts['clicks'].to_numpy())
    positives = sum_by(codes, clicks, len(names))
    ratios = _ratios(config, names, positives)
    negatives = np.asarray([negatives_of(count, ratios[name]) if name in ratios else 0
                            for name, count in zip(names.to_pylist(), positives.tolist(),
                                                   strict=True)], np.int64)
    ids = Lookup(lookup_path(staging, 'domain')).ids(names)
    write_arrow(_path(staging, 'domain-plan'), pa.table({
        'name': names, 'id': ids, 'positives': positives, 'negatives': negatives}))
    if config.sampling.ctr_ratio is None:
        each = clicks + config.sampling.keep_negatives * (rows - clicks)
    else:
        each = clicks * (1 + negatives / np.maximum(positives, 1))[codes]
        _number_positives(staging, counts, codes, clicks)
        _write_catalogue(config, staging, names)
    expected = [float(each[split == number].sum()) for number in range(len(splits))]
    growing = {key.partition('/')[2]: _sizes(training_splits(splits), *grown)
               for key, grown in summaries.items() if key.startswith('growth/')}
    plan = Plan(_grown(features, growing) if features else
                _features(config, summaries, growing), splits,
                _observed_days(staging, splits, days), summaries['duplicates'],
                int(rows[split == OUTSIDE].sum()), ratios,
                dict(zip(splits, expected, strict=True)), growing.get('domain', {}))
    plan.write(staging)
    return plan


def first_numbers(staging: str, bucket: int, splits: int, domains: int) -> np.ndarray:
    """The number of the bucket's first positive in each split and domain; `[splits, domains]`.
    """
    table = read_arrow(_path(staging, 'numbering'))
    begin, end = np.searchsorted(table['bucket'].to_numpy(), [bucket, bucket + 1])
    table = table.slice(begin, end - begin)
    first = np.zeros((splits, domains), np.int64)
    first[table['split'].to_numpy(), table['domain'].to_numpy()] = table['first'].to_numpy()
    return first


def read_catalogue(staging: str) -> tuple[Catalogue, pa.Table]:
    """The items of every domain, and what every item is; mapped, not read."""
    table = read_arrow(_path(staging, 'catalogue-plan'))
    items = read_arrow(_path(staging, 'items'))
    start = np.asarray(json.loads(table.schema.metadata[b'start']), np.int64)
    return Catalogue(items.num_rows, table['key'].to_numpy(), table['upto'].to_numpy(),
                     start), items


def item_columns(config: DatasetConfig) -> list[str]:
    """The columns of checked rows that make an item's features."""
    columns = dict.fromkeys(column_of(f, config) for f in config.features if of_item(f))
    return [name for name in columns if name not in ('item', 'timestamp', 'user', 'domain')]


def _check_domains(config: DatasetConfig, names: pa.Array) -> None:
    there = names.to_pylist()
    unknown = sorted(set(config.domains or []) - set(there))
    if unknown:
        raise UserError(f'domains names {unknown[0]}, which the log does not have; it has '
                        f'{_some(there)}.')
    for feature in config.features:
        unknown = sorted(set(feature.domains or []) - set(there))
        if unknown:
            raise UserError(f'The history {feature.name} is to hold clicks in the domain '
                            f'{unknown[0]}, which the log does not have; it has '
                            f'{_some(there)}.')


def _ratios(config: DatasetConfig, names: pa.Array, positives: np.ndarray) -> dict[str, float]:
    asked = config.sampling.ctr_ratio
    there = names.to_pylist()
    if isinstance(asked, dict):
        unknown = sorted(set(asked) - set(there))
        if unknown:
            raise UserError(f'sampling.ctr_ratio names the domain {unknown[0]}, which the log '
                            f'does not have; it has {_some(there)}.')
        without = [name for name, count in zip(there, positives.tolist(), strict=True)
                   if count and name not in asked]
        if without:
            raise UserError(f'sampling.ctr_ratio has no ratio for the domain {without[0]}: '
                            'give every domain one, or one number for all.')
    ratios = {name: ratio_of(name, config.sampling, config.seed) for name in there}
    return {name: ratio for name, ratio in ratios.items() if ratio is not None}


def _number_positives(staging: str, counts: pa.Table, domain: np.ndarray,
                      clicks: np.ndarray) -> None:
    """Writes where each bucket's numbers begin: in the order of domain, split, bucket."""
    split, bucket = counts['split'].to_numpy(), counts['bucket'].to_numpy()
    inside = np.flatnonzero(split >= 0)
    order = inside[np.lexsort((bucket[inside], split[inside], domain[inside]))]
    before = np.cumsum(clicks[order]) - clicks[order]
    of_domain = np.searchsorted(domain[order], domain[order])
    first = before - before[of_domain]
    back = np.argsort(bucket[order], kind='stable')
    order, first = order[back], first[back]
    write_arrow(_path(staging, 'numbering'), pa.table({
        'bucket': bucket[order], 'split': split[order], 'domain': domain[order],
        'first': first}))


def _write_catalogue(config: DatasetConfig, staging: str, domains: pa.Array) -> None:
    table = read_arrow(_path(staging, 'catalogue'))
    items = read_arrow(_path(staging, 'items'))
    index = pa.concat_arrays(items['item'].chunks)
    Lookup.write(lookup_path(staging, 'items'), index)
    domain = pc.index_in(_column(table, 'domain'), domains).to_numpy().astype(np.int64)
    item = Lookup(lookup_path(staging, 'items')).ids(_column(table, 'item')) - 1
    keys = domain * len(index) + item
    order = np.argsort(keys)
    start = np.searchsorted(domain[order], np.arange(len(domains) + 1))
    counts = table['rows'].to_numpy()[order]
    weight = weights(counts, start[:-1], np.diff(start), config.sampling.popularity)
    write_arrow(_path(staging, 'catalogue-plan'), pa.table({
        'key': keys[order], 'upto': np.cumsum(weight)}).replace_schema_metadata(
            {'start': json.dumps(start.tolist())}))


def _sizes(splits: list[str], before: int, added: list[int]) -> dict[str, int]:
    """The size of a growing vocabulary by the end of each training split, the id 0 included.

    Args:
        splits: the training splits, whose states are 1 and up.
        before: how many values were known before the first.
        added: how many more each state has; states after the last add none.
    """
    upto = np.cumsum(np.pad(added, (0, len(splits) + 1 - len(added))).astype(np.int64))
    return dict(zip(splits, (1 + before + upto[1:]).tolist(), strict=True))


def _grown(features: list[Feature], growing: Mapping[str, dict[str, int]]) -> list[Feature]:
    """The features of a dataset that is extended, as they are with what is added."""
    return [feature if feature.vocabulary not in growing else dataclasses.replace(
        feature, size=max(growing[feature.vocabulary].values()),
        known=feature.known | growing[feature.vocabulary]) for feature in features]


def _features(config: DatasetConfig, summaries: Mapping[str, Any],
              growing: Mapping[str, dict[str, int]]) -> list[Feature]:
    features = []
    for feature in config.features:
        if feature.kind in ('numeric', 'statistic'):
            at = (summaries[f'numbers/{feature.name}'] if feature.kind == 'numeric' else
                  summaries[f'past/{combination_name(feature)}'][feature.name])
            features.append(Feature(feature.name, 'numeric', feature.owner, len(at) + 2,
                                    boundaries=at))
            continue
        vocabulary = feature.of or feature.name
        known = growing.get(vocabulary, {})
        size = max(known.values()) if known else summaries[f'vocabulary/{vocabulary}'] + 1
        many = feature.kind != 'categorical'
        features.append(Feature(
            feature.name, 'sequence' if many else 'categorical', feature.owner, size,
            vocabulary, feature.length if many else 1, history=feature.kind == 'history',
            domains=feature.domains or [], known=known))
    return features


def _observed_days(staging: str, splits: list[str],
                   fixed: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    from beam_jobs.splits import day_name

    table = read_arrow(_path(staging, 'days'))
    split, day = table['split'].to_numpy(), table['day'].to_numpy()
    return {name: fixed.get(name) or (day_name(day[split == number].min()),
                                      day_name(day[split == number].max()))
            for number, name in enumerate(splits)}


def _column(table: pa.Table, name: str) -> pa.Array:
    return pa.concat_arrays(table[name].chunks)


def _path(staging: str, name: str) -> str:
    return os.path.join(staging, 'plan', f'{name}.arrow')


def _some(names: list[str]) -> str:
    return ', '.join(names[:20]) + (', ...' if len(names) > 20 else '')

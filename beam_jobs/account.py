"""The manifest of what was built, and the account in which no row of the log may be missing."""

import json
import logging
import os
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_jobs.assemble import index_path, report_path
from beam_jobs.atomic import read_arrow
from beam_jobs.config import DatasetConfig
from beam_jobs.dataset import Domain, Manifest, Rows, Split, read_vocabulary, split_directory
from beam_jobs.options import to_mapping
from beam_jobs.plan import Plan

log = logging.getLogger(__name__)


def make_manifest(config: DatasetConfig, directory: str, staging: str, name: str,
                  fingerprint: str, source: dict[str, Any]) -> Manifest:
    """Adds up the buckets' reports.

    Args:
        config: the `dataset` section.
        directory: of the dataset that is being built.
        staging: where the survey, the plan and the reports are.
        name: of the configuration.
        fingerprint: of the dataset.
        source: what it was built from.

    Raises:
        AssertionError: a row was lost or doubled, which is a fault of this project.
    """
    plan = Plan.read(staging)
    with open(os.path.join(staging, 'survey.json'), encoding='utf-8') as file:
        survey = json.load(file)
    totals = dict.fromkeys(('kept', 'down_sampled', 'sampled_negatives', 'shortfall'), 0)
    splits = {split: {'examples': {}, 'clicks': {}} for split in plan.splits}
    for report in _reports(config, staging):
        for key in totals:
            totals[key] += report[key]
        for split, counts in report['splits'].items():
            for kind, by_domain in counts.items():
                total = splits[split][kind]
                for domain, count in by_domain.items():
                    total[domain] = total.get(domain, 0) + count
    _tell(plan, totals['shortfall'], splits)
    rows = Rows(survey['read'], survey['rejected'], plan.duplicates, plan.outside,
                totals['down_sampled'], totals['kept'], totals['sampled_negatives'],
                dict(sorted(survey['reasons'].items())), totals['shortfall'])
    _assert_accounted(rows, splits)
    domains = [Domain(number, domain) for number, domain in enumerate(
        read_vocabulary(directory, 'domain'), start=1)]
    return Manifest(
        name, fingerprint, plan.features, domains,
        {split: Split(plan.days[split], dict(sorted(counts['examples'].items())),
                      dict(sorted(counts['clicks'].items())))
         for split, counts in splits.items()},
        rows, plan.ratios, config.sampling.keep_negatives, config.seed, source,
        json.loads(json.dumps(to_mapping(config))), plan.known_domains)


def write_indexes(config: DatasetConfig, directory: str, staging: str,
                  splits: list[str]) -> None:
    """Writes each split's index of where the domains' examples are."""
    for split in splits:
        paths = [index_path(staging, split, bucket) for bucket in range(config.buckets)]
        index = pa.concat_tables([read_arrow(path) for path in paths if os.path.exists(path)])
        order = pc.sort_indices(index, [('domain', 'ascending'), ('file', 'ascending')])
        pq.write_table(index.take(order),
                       os.path.join(split_directory(directory, split), 'index.parquet'))


def _reports(config: DatasetConfig, staging: str) -> list[dict[str, Any]]:
    reports = []
    for bucket in range(config.buckets):
        if os.path.exists(report_path(staging, bucket)):  # else no user fell into it
            with open(report_path(staging, bucket), encoding='utf-8') as file:
                reports.append(json.load(file))
    return reports


def _tell(plan: Plan, shortfall: int, splits: dict[str, dict[str, dict[str, int]]]) -> None:
    if shortfall:
        log.warning('%d negatives were not drawn: their users have interacted with every item '
                    'of the domain', shortfall)
    some = set().union(*(counts['examples'] for counts in splits.values()))
    for domain in sorted(set(plan.ratios) - some):
        log.warning('the domain %s has no click inside the splits, so it has no examples',
                    domain)


def _assert_accounted(rows: Rows, splits: dict[str, dict[str, dict[str, int]]]) -> None:
    went = (rows.rejected + rows.duplicates + rows.outside_splits + rows.down_sampled
            + rows.kept)
    examples = sum(sum(counts['examples'].values()) for counts in splits.values())
    if rows.read != went or examples != rows.kept + rows.sampled_negatives:
        raise AssertionError(f'Rows were lost or doubled: {rows}, {examples} examples.')

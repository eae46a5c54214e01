"""Makes the manifest of a dataset, and checks that every row of the log is accounted for."""

import dataclasses
import json
import logging
from typing import Any, Literal

from beam_jobs.build.bucket_report import BucketReport, total_report
from beam_jobs.build.job import Job
from beam_jobs.build.plan import Plan
from beam_jobs.build.staging import log_summary_path
from beam_jobs.config import RANDOM, DatasetConfig
from mdctr import storage
from mdctr.file_records import FileRecord, record_files
from mdctr.manifest import Domain, Manifest, Rows, Split, split_directory
from mdctr.settings import to_mapping
from mdctr.storage import read_json

logger = logging.getLogger(__name__)

_MAX_DUPLICATES = 0.02  # of the valid rows, above which there is a warning


def make_manifest(job: Job, name: str, fingerprint: str, source: dict[str, Any]) -> Manifest:
    """Adds up the reports of the buckets.

    Args:
        job: The build, of which all examples are written.
        name: Name of the configuration.
        fingerprint: Fingerprint of the dataset.
        source: What the dataset was built from; see `describe_source`.

    Raises:
        AssertionError: A row was lost or doubled, which is a bug of this project.
    """
    config, plan = job.config, Plan.read(job.staging)
    log = read_json(log_summary_path(job.staging))
    total = total_report(job.staging, config.user_buckets, plan.splits)
    _log_missing_examples(plan, total)
    rows = Rows(
        log['read'],
        log['rejected'],
        plan.duplicates,
        plan.outside,
        total.down_sampled,
        total.kept,
        total.sampled_negatives,
        dict(sorted(log['reasons'].items())),
        total.shortfall,
    )
    _assert_accounted(rows, total)
    _log_rows(rows)
    for warning in [*log['warnings'], *_duplicate_warnings(rows)]:
        logger.warning('%s', warning)
    domains = [
        Domain(number, domain)
        for number, domain in enumerate(job.vocabulary('domain'), start=1)
    ]
    return Manifest(
        name,
        fingerprint,
        plan.features,
        domains,
        {
            split: Split(
                plan.days[split],
                dict(sorted(counts.examples.items())),
                dict(sorted(counts.clicks.items())),
            )
            for split, counts in total.splits.items()
        },
        rows,
        plan.ctr_ratios,
        config.sampling.keep_negatives,
        config.seed,
        source,
        _recorded(config),
        plan.known_domains,
        negative_candidates=_negative_candidates(job, plan),
    )


def with_file_records(job: Job, manifest: Manifest) -> Manifest:
    """The manifest with the records of the files that the build has written.

    Args:
        job: The build, of which all files but the manifest are written.
        manifest: The manifest, with the files of the version that is extended.
    """
    reported = total_report(job.staging, job.config.user_buckets)
    digests = {
        storage.join(split_directory('', split), name): digest
        for split, counts in reported.splits.items()
        for name, digest in counts.files.items()
    }
    staging = storage.name(storage.parent(job.staging)) + '/'
    names = [name for name in storage.list_files(job.directory) if not name.startswith(staging)]
    # The digests of examples come from the workers that wrote them, which saves a second read.
    records = record_files(job.directory, [name for name in names if name not in digests])
    records |= {
        name: FileRecord(storage.size(storage.join(job.directory, name)), digest)
        for name, digest in digests.items()
    }
    return dataclasses.replace(manifest, files=manifest.files | dict(sorted(records.items())))


def _recorded(config: DatasetConfig) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(json.dumps(to_mapping(config)))
    del settings['in_memory_gb']  # says nothing about the dataset
    return settings


def _negative_candidates(job: Job, plan: Plan) -> dict[str, Literal['appeared', 'all']]:
    if job.config.sampling.ctr_ratio is None:
        return {}
    return dict.fromkeys(plan.splits, 'all' if job.split_by in RANDOM else 'appeared')


def _duplicate_warnings(rows: Rows) -> list[str]:
    valid = rows.read - rows.rejected
    if rows.duplicates <= _MAX_DUPLICATES * valid:
        return []
    return [
        f'{rows.duplicates:,} of {valid:,} rows were dropped, since another row has the same '
        'user, item, domain and timestamp: if they are impressions of their own, because the '
        'column timestamp is coarse, set `duplicates: keep`'
    ]


def _log_rows(rows: Rows) -> None:
    logger.info(
        'Rows of the log: %s read, %s rejected, %s repeated impressions, %s outside of the '
        'splits, %s down-sampled, %s kept; %s negatives sampled',
        *(
            f'{count:,}'
            for count in (
                rows.read,
                rows.rejected,
                rows.duplicates,
                rows.outside_splits,
                rows.down_sampled,
                rows.kept,
                rows.sampled_negatives,
            )
        ),
    )
    for reason, count in sorted(rows.reasons.items(), key=lambda item: (-item[1], item[0]))[:5]:
        logger.info('Rejected: %s rows, %s', f'{count:,}', reason)


def _log_missing_examples(plan: Plan, total: BucketReport) -> None:
    if total.shortfall:
        logger.warning(
            '%d negatives were not drawn: their users have interacted with every candidate',
            total.shortfall,
        )
    with_examples = set().union(*(counts.examples for counts in total.splits.values()))
    for domain in sorted(set(plan.ctr_ratios) - with_examples):
        logger.warning(
            'Domain %s has no click inside the splits, so it has no examples', domain
        )


def _assert_accounted(rows: Rows, total: BucketReport) -> None:
    accounted = (
        rows.rejected + rows.duplicates + rows.outside_splits + rows.down_sampled + rows.kept
    )
    examples = sum(sum(counts.examples.values()) for counts in total.splits.values())
    if rows.read != accounted or examples != rows.kept + rows.sampled_negatives:
        raise AssertionError(f'Rows were lost or doubled: {rows}, {examples} examples.')

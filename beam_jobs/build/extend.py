"""Adds days to a dataset without rebuilding the days that it has.

The new days become a split of their own. Boundaries and the files of existing splits stay as
they are; histories of the new examples include the earlier days, and sampled negatives avoid
what their user did then. For this the dataset keeps its rows, sorted, in `log/` (if it was
built with `extendable: true`).

Vocabularies stay as they are too, unless the dataset is split by periods: then values and
domains that only the new days have are appended, in new files, with ids that the new split's
`Feature.known` distinguishes from the older ones.
"""

import contextlib
import dataclasses
import logging
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from beam_jobs.build.directory import building, complete_version, make_extended_current
from beam_jobs.build.fingerprint import describe_source, extended_fingerprint
from beam_jobs.build.job import EarlierRows, Extension, Job
from beam_jobs.build.make_manifest import make_manifest
from beam_jobs.build.pipeline import complete, run_job
from beam_jobs.build.staging import lookup_path
from beam_jobs.config import IN_MEMORY_GB, DatasetConfig
from beam_jobs.features.lookup import Lookup
from mdctr import storage
from mdctr.dataset import Dataset, open_dataset
from mdctr.dataset_versions import lease_path
from mdctr.days import day_number, day_start
from mdctr.errors import NoRowsError, UserError
from mdctr.file_records import check_size
from mdctr.leases import Lease, lease
from mdctr.manifest import MANIFEST, Manifest, Rows
from mdctr.settings import parse

logger = logging.getLogger(__name__)


def extend_dataset(
    directory: str,
    split: str,
    days: tuple[str, str],
    inputs: list[str] | None,
    cache: str,
    beam_args: Sequence[str] = (),
    progress: bool = True,
    reader: Any = None,
    in_memory_gb: float = IN_MEMORY_GB,
) -> Dataset:
    """Builds a version with everything in the current one and one more split.

    The new version refers to the files of the current one, which stays as it is; it becomes
    current. If the current version ends with this very split, nothing is done.

    Args:
        directory: Directory of an extendable dataset.
        split: Name of the split that is added.
        days: Its first and last day, after all days of the dataset.
        inputs: Files or patterns of these days' log, in the format of the first.
        cache: See `build_dataset`.
        beam_args: See `build_dataset`.
        progress: See `build_dataset`.
        reader: See `build_dataset`.
        in_memory_gb: Gigabytes of these days' log above which there is a warning without a
            runner; see `DatasetConfig.in_memory_gb`.

    Returns:
        The new version. Its row counts are sums; its fingerprint is computed from that of the
        version that it extends and the added log.

    Raises:
        NoRowsError: The log has no rows of these days.
        UserError: The dataset cannot be extended, or not by this split; or as `build_dataset`.
    """
    directory = storage.resolve(directory)
    with storage.reporting_errors(directory), _extending(directory):
        base = open_dataset(directory)
        manifest = base.manifest
        config = _read_config(base).replace(inputs=inputs, in_memory_gb=in_memory_gb)
        if reader is None:
            from beam_jobs.readers import make_reader

            reader = make_reader(config, cache)
        source = describe_source(config, reader)
        if split in manifest.added[-1:] and manifest.fingerprint == extended_fingerprint(
            manifest.extends[-1], source, split, days
        ):
            logger.info('%s is up to date', base)
            return base
        _require_extendable(base, split, days)
        fingerprint = extended_fingerprint(manifest.fingerprint, source, split, days)
        extended = complete_version(directory, fingerprint)
        if extended is None:
            shards = list(reader.shards())
            if not shards:
                raise NoRowsError('The log has no rows: check `inputs`.')
            with building(directory, fingerprint) as (staging, held):
                extension = Extension(
                    split,
                    days,
                    manifest.features,
                    _earlier_rows(base, days[0], config.utc_offset),
                    base.directory,
                    _trained_days(manifest),
                )
                version = storage.join(directory, fingerprint)
                job = Job(config, version, staging, reader, extension)
                if not manifest.known_domains:
                    _write_lookups(base, staging)
                run_job(job, shards, beam_args, progress)
                added = make_manifest(job, manifest.name, fingerprint, source)
                extended = complete(job, _combine(manifest, added), held)
        make_extended_current(directory, base, extended)
    return extended


def _extending(directory: str) -> contextlib.AbstractContextManager[Lease]:
    """Waits for others that extend the dataset: each extends what the one before it made."""
    return lease(
        lease_path(directory, 'extend'),
        f'is extending the dataset {directory}',
        wait=True,
    )


def _read_config(base: Dataset) -> DatasetConfig:
    try:
        return parse(DatasetConfig, base.manifest.config, base.path(MANIFEST))
    except UserError as error:
        raise UserError(
            f'{base} was built by an earlier version and cannot be extended: build it again '
            f'({error})'
        ) from None


def _require_extendable(base: Dataset, split: str, days: tuple[str, str]) -> None:
    splits = base.manifest.splits
    if not any(name.startswith('log/') for name in base.manifest.files):
        raise UserError(
            f'{base} cannot be extended, since it does not keep its rows: build it with '
            '`extendable: true`.'
        )
    if not re.fullmatch(r'[\w-]+', split):
        raise UserError(
            f'{split!r} is not a valid name of a split: use letters, digits, - and _.'
        )
    if split in splits:
        raise UserError(f'{base} already has a split {split}: choose another name.')
    if days[0] > days[1]:
        raise UserError(f'The split {split} ends ({days[1]}) before it begins ({days[0]}).')
    last = max(other.days[1] for other in splits.values())
    if days[0] <= last:
        raise UserError(
            f'The split {split} begins on {days[0]}, but {base} ends on {last}: only later '
            'days can be added.'
        )


def _earlier_rows(base: Dataset, first_day: str, utc_offset: float) -> list[EarlierRows]:
    """The rows that the dataset keeps: those of the first build, and those of each extension.

    Args:
        base: The version that is extended.
        first_day: First day of the new split.
        utc_offset: Hours by which the log's days begin before UTC's.
    """
    manifest = base.manifest
    added = ['', *manifest.added]
    begins = [*(manifest.splits[split].days[0] for split in added[1:]), first_day]
    ends = {
        split: day_start(day_number(begin), utc_offset)
        for split, begin in zip(added, begins, strict=True)
    }
    rows = []
    for name in manifest.files:
        kind, *split, file = name.split('/')
        if kind == 'log':
            path, record = base.path(name), manifest.files[name]
            check_size(path, record)
            bucket = int(file.split('.')[0])
            rows.append(EarlierRows(bucket, path, record, ends[''.join(split)]))
    return rows


def _trained_days(manifest: Manifest) -> list[tuple[str, str]] | None:
    """The days of the training splits of a dataset that grows; None if it does not."""
    if not manifest.known_domains:
        return None
    return [manifest.splits[split].days for split in manifest.known_domains]


def _write_lookups(base: Dataset, staging: str) -> None:
    for name in {'domain', *(f.vocabulary for f in base.manifest.features if f.vocabulary)}:
        vocabulary = pa.array(base.vocabulary(name), pa.string())
        Lookup.write(lookup_path(staging, name), vocabulary)


def _combine(base: Manifest, added: Manifest) -> Manifest:
    """The manifest of both: rows are summed, features and domains are those of `added`."""
    rows = {
        field.name: getattr(base.rows, field.name) + getattr(added.rows, field.name)
        for field in dataclasses.fields(Rows)
        if field.name != 'reasons'
    }
    reasons = dict(base.rows.reasons)
    for reason, count in added.rows.reasons.items():
        reasons[reason] = reasons.get(reason, 0) + count
    inputs = base.source['inputs'] + added.source['inputs']
    files = {
        name: record
        if record.version
        else dataclasses.replace(record, version=base.fingerprint)
        for name, record in base.files.items()
    }
    return dataclasses.replace(
        base,
        fingerprint=added.fingerprint,
        extends=[*base.extends, base.fingerprint],
        features=added.features,
        domains=added.domains,
        known_domains=base.known_domains | added.known_domains,
        splits=base.splits | added.splits,
        source=base.source | {'inputs': inputs},
        rows=Rows(**rows, reasons=dict(sorted(reasons.items()))),
        ctr_ratios=base.ctr_ratios | added.ctr_ratios,
        negative_candidates=base.negative_candidates | added.negative_candidates,
        files=files,
    )

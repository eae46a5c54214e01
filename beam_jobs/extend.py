"""More days for a dataset, without building the days before again.

The new days become a split of their own. Boundaries and the files of the splits that are there
stay as they are; the new examples' histories reach back into the days before, and their sampled
negatives avoid whatever the user did in them. For that the dataset keeps its rows, sorted, in
`log/` (`extendable: true` when it was built).

The vocabularies stay as they are too, unless the dataset is split by periods: then the values
and domains that the new days bring come after those that are there, in new files, with ids that
`Feature.known` of the new split tells from the older ones.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from beam_jobs.account import make_manifest
from beam_jobs.build import complete, run_job
from beam_jobs.config import DatasetConfig
from beam_jobs.dataset import MANIFEST, Manifest, Rows, read_manifest, read_vocabulary
from beam_jobs.directory import local_path, restore, writing
from beam_jobs.errors import UserError
from beam_jobs.fingerprint import describe_source
from beam_jobs.job import Extension, Job, log_directory
from beam_jobs.options import from_mapping
from beam_jobs.plan import lookup_path
from beam_jobs.vocabulary import Lookup


def extend_dataset(base: str, directory: str, split: str, days: tuple[str, str],
                   inputs: list[str] | None, cache: str, beam_args: Sequence[str] = (),
                   progress: bool = True, reader: Any = None) -> Manifest:
    """Builds a dataset of all that `base` holds, and one split more.

    Args:
        base: an extendable dataset.
        directory: where the new dataset goes; it can be `base`, and shares its files else.
        split: the name of the split that is added.
        days: its first and last day, after all days of `base`.
        inputs: files or patterns of the log of these days, in the layout of the first.
        cache, beam_args, progress, reader: as of `build_dataset`.

    Returns:
        The manifest of the new dataset; rows are added up, and the fingerprint is of the
        base's and of what was added.

    Raises:
        UserError: `base` cannot be extended, by this split or at all; or as `build_dataset`.
    """
    base, directory = os.path.abspath(base), local_path(directory)
    restore(base)
    manifest = read_manifest(base)
    config = from_mapping(DatasetConfig, manifest.config, os.path.join(base, MANIFEST))
    config = dataclasses.replace(config, inputs=inputs)
    _check(base, manifest, config, split, days)
    if reader is None:
        from beam_jobs.readers import make_reader
        reader = make_reader(config, cache)
    source = describe_source(config, reader)
    shards = list(reader.shards())
    if not shards:
        raise UserError('The log has no rows: check `inputs`.')
    building = directory + '.building'
    staging = os.path.join(building, 'staging')
    log = [(int(name.split('.')[0]), os.path.join(log_directory(base), name))
           for name in sorted(os.listdir(log_directory(base)))]
    job = Job(config, building, staging, reader,
              Extension(split, days, manifest.features, log, base, _trained(manifest)))
    with writing(directory):
        _share_files(base, building)
        if not manifest.known_domains:
            for name in {'domain', *(f.vocabulary for f in manifest.features if f.vocabulary)}:
                Lookup.write(lookup_path(staging, name),
                             pa.array(read_vocabulary(base, name), pa.string()))
        # Rejected rows are numbered by bucket: each addition has a folder of its own.
        os.makedirs(os.path.join(building, 'rejected'), exist_ok=True)
        before = set(os.listdir(os.path.join(building, 'rejected')))
        run_job(job, shards, beam_args, progress)
        added = make_manifest(config, building, staging, manifest.name, '', source)
        _move_rejected(os.path.join(building, 'rejected'), before, split)
        whole = _together(manifest, added, split, days)
        complete(job, whole, directory)
    return whole


def _check(base: str, manifest: Manifest, config: DatasetConfig, split: str,
           days: tuple[str, str]) -> None:
    if not os.path.isdir(log_directory(base)):
        raise UserError(f'{base} cannot be extended, since it does not keep its rows: build it '
                        'with `extendable: true`.')
    if not re.fullmatch(r'[\w-]+', split):
        raise UserError(f'{split!r} is no name for a split: use letters, digits, - and _.')
    if split in manifest.splits:
        raise UserError(f'{base} has a split {split} already: name another.')
    if days[0] > days[1]:
        raise UserError(f'The split {split} ends ({days[1]}) before it begins ({days[0]}).')
    last = max(other.days[1] for other in manifest.splits.values())
    if days[0] <= last:
        raise UserError(f'The split {split} begins on {days[0]}, but {base} goes to {last}: '
                        'only days after that can be added.')


def _trained(manifest: Manifest) -> list[tuple[str, str]] | None:
    """The days that vocabularies come from, where they grow with what is added."""
    if not manifest.known_domains:
        return None
    return [manifest.splits[split].days for split in manifest.known_domains]


def _share_files(base: str, building: str) -> None:
    """Everything of `base` but its manifest and rows, as links where that is possible.

    No file of a dataset is ever changed in place, so datasets can share them.
    """
    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

    shutil.rmtree(building, ignore_errors=True)
    log = log_directory(base)
    shutil.copytree(base, building, copy_function=link, ignore=lambda folder, names: [
        name for name in names if name == MANIFEST or os.path.join(folder, name) == log])


def _move_rejected(rejected: str, before: set[str], split: str) -> None:
    added = set(os.listdir(rejected)) - before
    for name in added:
        os.makedirs(os.path.join(rejected, split), exist_ok=True)
        os.rename(os.path.join(rejected, name), os.path.join(rejected, split, name))


def _together(base: Manifest, added: Manifest, split: str,
              days: tuple[str, str]) -> Manifest:
    """The manifest of both: rows add up, features and domains are as they are with `added`."""
    rows = {field.name: getattr(base.rows, field.name) + getattr(added.rows, field.name)
            for field in dataclasses.fields(Rows) if field.name != 'reasons'}
    reasons = dict(base.rows.reasons)
    for reason, count in added.rows.reasons.items():
        reasons[reason] = reasons.get(reason, 0) + count
    inputs = base.source['inputs'] + added.source['inputs']
    parts = json.dumps([base.fingerprint, added.source, split, days], sort_keys=True)
    return dataclasses.replace(
        base, fingerprint=hashlib.sha256(parts.encode()).hexdigest(),
        features=added.features, domains=added.domains,
        known_domains=base.known_domains | added.known_domains,
        splits=base.splits | added.splits, source=base.source | {'inputs': inputs},
        rows=Rows(**rows, reasons=dict(sorted(reasons.items()))),
        ctr_ratios=base.ctr_ratios | added.ctr_ratios)

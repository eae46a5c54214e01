"""Digests of the contents of a dataset's splits, by which other steps tell changed data."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from itertools import islice

from beam_jobs.build.bucket_report import total_report
from beam_jobs.build.job import Job
from mdctr.dataset import Dataset
from mdctr.manifest import Manifest


def with_content_digests(job: Job, manifest: Manifest) -> Manifest:
    """The manifest with `Split.digest` of each split that the build has written.

    A split that no bucket reports on, such as one of the dataset that is extended, keeps its
    digest.

    Args:
        job: The build, of which all examples and vocabularies are written.
        manifest: Manifest of the whole dataset, with the records of its files.
    """
    dataset = Dataset(job.directory, manifest)
    total = total_report(job.staging, job.config.user_buckets)
    files = {split: counts.files for split, counts in total.splits.items()}
    known = {split: _known_values(manifest, split) for split in files}
    values = {
        name: _prefix_digests(
            dataset.vocabulary_bytes(name), {sizes[name] for sizes in known.values()}
        )
        for name in sorted({name for sizes in known.values() for name in sizes})
    }
    splits = dict(manifest.splits)
    for split, digests in files.items():
        vocabularies = {name: values[name][size] for name, size in known[split].items()}
        content = json.dumps([digests, vocabularies], sort_keys=True)
        splits[split] = dataclasses.replace(
            splits[split], digest=hashlib.sha256(content.encode()).hexdigest()
        )
    return dataclasses.replace(manifest, splits=splits)


def _known_values(manifest: Manifest, split: str) -> Mapping[str, int]:
    """The number of values of each vocabulary that have ids as of a split, by name."""
    sizes = manifest.ids_known([split])
    known = {
        feature.vocabulary: sizes[feature.name] - 1
        for feature in manifest.features
        if feature.vocabulary is not None
    }
    return known | {'domain': manifest.domains_known([split]) - 1}


def _prefix_digests(vocabulary: bytes, sizes: Iterable[int]) -> dict[int, str]:
    """The SHA-256 of the first lines of a file, for each number of lines."""
    digest, read, digests = hashlib.sha256(), 0, {}
    lines = io.BytesIO(vocabulary)
    for size in sorted(sizes):
        for line in islice(lines, size - read):
            digest.update(line)
        read = size
        digests[size] = digest.hexdigest()
    return digests

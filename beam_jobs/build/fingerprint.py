"""The source that a dataset is built from, and the fingerprint that identifies a build."""

import hashlib
import json
from typing import Any

from beam_jobs.config import NO_CONTENT, DatasetConfig
from beam_jobs.readers.by_split import SplitReader
from beam_jobs.readers.raw_files import base_name, checksum
from mdctr import storage
from mdctr.settings import to_mapping

# Increase when the same log and configuration give different bytes than before: every dataset
# is then rebuilt. tests/beam_jobs/build/test_build_version.py fails when that is due.
BUILD_VERSION = 5


def describe_source(config: DatasetConfig, reader: Any) -> dict[str, Any]:
    """The reader and its raw files: base name, size and SHA-256, in a fixed order.

    For a simulated log also `ceiling`, the metrics of its true click probabilities, from the
    directory `truth/` that the simulator writes next to the log.
    """
    files = [_describe(path) for path in reader.files()]
    source: dict[str, Any] = {
        'reader': config.reader,
        'inputs': sorted(files, key=lambda file: (file['name'], file['sha256'])),
    }
    if isinstance(reader, SplitReader):
        source['splits'] = {
            split: sorted(_describe(path)['sha256'] for path in inner.files())
            for split, inner in reader.readers.items()
        }
    for path in config.input_patterns:
        ceiling = storage.join(storage.parent(path), 'truth', 'ceiling.json')
        with storage.reporting_errors(ceiling):
            if storage.is_file(ceiling):
                source['ceiling'] = storage.read_json(ceiling)
    return source


def fingerprint_of(config: DatasetConfig, source: dict[str, Any]) -> str:
    """Equal for equal raw data, configuration and `BUILD_VERSION`, wherever the data is."""
    settings = {k: v for k, v in to_mapping(config).items() if k not in NO_CONTENT}
    parts = json.dumps([settings, source, BUILD_VERSION], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def extended_fingerprint(
    base: str, source: dict[str, Any], split: str, days: tuple[str, str]
) -> str:
    """The fingerprint of the version that extends another one by a split.

    Args:
        base: Fingerprint of the version that is extended.
        source: Source of the added rows; see `describe_source`.
        split: Name of the split.
        days: Its first and last day.
    """
    parts = json.dumps([base, source, split, days, BUILD_VERSION], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def _describe(path: str) -> dict[str, Any]:
    size, digest = checksum(path)
    return {'name': base_name(path), 'size': size, 'sha256': digest}

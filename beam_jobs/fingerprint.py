"""What a dataset was built from, and the fingerprint that tells one build from another."""

import functools
import glob
import hashlib
import json
import os
from typing import Any

from beam_jobs.config import DatasetConfig
from beam_jobs.options import to_mapping

_NO_PART = ('cold_start', 'directory', 'evaluat', 'exported', 'fetch', 'intervals', 'judge',
            'metrics', 'model_inputs', 'report', 'runner', 'score', 'simulat', 'validat',
            'verdict')


def describe_source(config: DatasetConfig, reader: Any) -> dict[str, Any]:
    """The reader and its raw files: base name, size and SHA-256, in a fixed order.

    Of a simulated log also the `ceiling`, the metrics of its true click probabilities, which
    the simulator left in `truth/` beside it.
    """
    files = [_describe(path) for path in reader.files()]
    source = {'reader': config.reader,
              'inputs': sorted(files, key=lambda file: (file['name'], file['sha256']))}
    for path in config.inputs or []:
        truth = os.path.join(os.path.dirname(path.rstrip('/')), 'truth', 'ceiling.json')
        if os.path.exists(truth):
            with open(truth, encoding='utf-8') as file:
                source['ceiling'] = json.load(file)
    return source


def fingerprint_of(config: DatasetConfig, source: dict[str, Any]) -> str:
    """Equal for equal raw data, configuration and code; where the data lies does not count."""
    settings = to_mapping(config)
    del settings['inputs']
    parts = json.dumps([settings, source, _code()], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()


def _describe(path: str) -> dict[str, Any]:
    from apache_beam.io.filesystems import FileSystems

    digest, size = hashlib.sha256(), 0
    # Without a compression type a .gz file would be decompressed.
    from apache_beam.io.filesystem import CompressionTypes
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return {'name': os.path.basename(path), 'size': size, 'sha256': digest.hexdigest()}


@functools.cache  # what is loaded counts, not what is edited meanwhile
def _code() -> str:
    """A hash of the source files of this package that shape a dataset's bytes."""
    here = os.path.dirname(__file__)
    paths = sorted(glob.glob(os.path.join(here, '**', '*.py'), recursive=True))
    digest = hashlib.sha256()
    for path in paths:
        name = os.path.relpath(path, here)
        if name.startswith(_NO_PART):
            continue
        with open(path, 'rb') as file:
            digest.update(name.encode() + b'\0' + file.read())
    return digest.hexdigest()

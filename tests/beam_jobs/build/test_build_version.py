"""Guards `BUILD_VERSION`: the bytes of small datasets of every reader and feature kind."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import beam_jobs
from beam_jobs.build.fingerprint import BUILD_VERSION, fingerprint_of
from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import DatasetConfig, SamplingConfig, SplitConfig, StatisticFeature
from beam_jobs.readers import READERS
from mdctr.dataset_versions import version_directory
from mdctr.settings import parse
from tests.beam_jobs.build.test_build import FEATURES, config, random_log
from tests.beam_jobs.layouts import LAYOUTS, split_of
from tests.beam_jobs.log_in_memory import TableReader

# The first 16 digits of the SHA-256 of each dataset's examples, vocabularies and rejected rows.
DIGESTS: dict[str, str] = {
    'every feature kind, by days': '29e050a167983412',
    'sampled, by time': '17d9209a56415f1e',
    'down-sampled, by user': 'ec7a2cd3a3af39fb',
    'by periods': '918937df4193d387',
    'reader ali-ccp': 'f0500df1eb9f2079',
    'reader amazon': 'cdcdac6eef45de8b',
    'reader douban': '8b8878e19357565f',
    'reader generic': '7bd27ac6f41660f9',
    'reader iaac': '8edc4fe164fe3685',
    'reader kuairand': 'f3f52fafd4ea383a',
    'reader mind': '4f38ac60883bf370',
    'reader movielens': '5071db1a27088912',
    'reader open-bandit': 'a194564edbe55b22',
    'reader taobao-theme': '8c809ae1edb9698b',
    'reader tenrec': '51800bd45350fd64',
}
BUILDS = {
    'every feature kind, by days': {
        'features': [
            *FEATURES,
            StatisticFeature(name='item_ctr', owner='item', group_by='item_id', buckets=4),
            StatisticFeature(
                name='pair_count',
                group_by=['user_id', 'domain'],
                aggregation='count',
                buckets=4,
            ),
        ]
    },
    'sampled, by time': {
        'sampling': SamplingConfig(ctr_ratio=(0.2, 0.5), popularity_exponent=0.5),
        'split': SplitConfig(by='time', fractions=(0.7, 0.1, 0.2)),
    },
    'down-sampled, by user': {
        'sampling': SamplingConfig(keep_negatives=0.5),
        'split': SplitConfig(by='user', fractions=(0.7, 0.1, 0.2)),
    },
    'by periods': {'split': SplitConfig(by='periods', periods=2, period_days=3)},
}


def _digest(version: str) -> str:
    digest, directory = hashlib.sha256(), Path(version)
    for part in ('examples', 'vocabulary', 'rejected'):
        for path in sorted((directory / part).rglob('*')):
            if path.is_file():
                digest.update(os.fsencode(path.relative_to(directory)) + b'\0')
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _check(name: str, directory: str) -> None:
    assert _digest(directory) == DIGESTS.get(name), (
        f'The bytes of the dataset "{name}" are {_digest(directory)!r}, not those of build '
        f'version {BUILD_VERSION}. If that is intended, raise BUILD_VERSION and '
        'update DIGESTS.'
    )


@pytest.mark.parametrize('name', BUILDS)
def test_build_version_changes_with_the_bytes_of_a_build(tmp_path, name):
    build_dataset(
        config(**BUILDS[name]),
        'test',
        str(tmp_path / 'dataset'),
        '',
        progress=False,
        reader=TableReader(random_log(600)),
    )
    _check(name, version_directory(str(tmp_path / 'dataset')))


@pytest.mark.parametrize('name', READERS)
def test_build_version_changes_with_the_bytes_of_a_reader(tmp_path, name):
    log = tmp_path / 'log'
    log.mkdir()
    options, domain = LAYOUTS[name](log)
    settings = parse(
        DatasetConfig,
        {
            'reader': name,
            'inputs': [str(log)],
            'reader_options': options,
            'domain_columns': [domain],
            'features': [{'name': 'user_id'}, {'name': 'item_id'}],
            'max_rejected_fraction': 1.0,
            'user_buckets': 2,
            'split': split_of(name),
        },
        'test',
    )
    build_dataset(
        settings, 'test', str(tmp_path / 'dataset'), str(tmp_path / 'cache'), progress=False
    )
    _check(f'reader {name}', version_directory(str(tmp_path / 'dataset')))


def test_a_comment_in_the_code_keeps_the_fingerprint(tmp_path):
    code = Path(beam_jobs.__file__).parent
    shutil.copytree(code, tmp_path / 'beam_jobs')
    for path in (tmp_path / 'beam_jobs').rglob('*.py'):
        path.write_text(path.read_text() + '\n# A comment.\n')
    program = (
        'from tests.beam_jobs.build.test_build_version import fingerprint; print(fingerprint())'
    )
    repository = str(code.parent)
    printed = [
        subprocess.run(
            [sys.executable, '-c', program],
            text=True,
            capture_output=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(path)},
        ).stdout
        for path in ([str(tmp_path), repository], [repository])
    ]
    assert printed[0] == printed[1] == fingerprint() + '\n'


def fingerprint() -> str:
    return fingerprint_of(config(), {'reader': 'none', 'inputs': []})

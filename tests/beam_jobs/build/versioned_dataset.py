"""A small extendable dataset whose versions other processes of the tests build and extend."""

import pyarrow as pa

from beam_jobs.build.extend import extend_dataset
from beam_jobs.build.pipeline import build_dataset
from beam_jobs.config import CategoricalFeature, DatasetConfig, HistoryFeature, SplitConfig
from mdctr import storage
from mdctr.dataset import open_dataset
from tests.beam_jobs.log_in_memory import TableReader

DAY = 86400
ADDED = {'fourth': ('1970-01-05', '1970-01-05'), 'fifth': ('1970-01-06', '1970-01-06')}
PRELOAD = ['tests.beam_jobs.build.versioned_dataset', 'beam_jobs.quiet_tfdv']


def config(**changes) -> DatasetConfig:
    settings = {
        'reader': 'none',
        'domain_columns': ['scene'],
        'user_buckets': 1,
        'extendable': True,
        'features': [
            CategoricalFeature(name='user_id'),
            CategoricalFeature(name='item_id', owner='item'),
            HistoryFeature(name='recent', feature='item_id', max_length=3),
        ],
        'split': SplitConfig(by='periods', periods=2, period_days=1, first_day='1970-01-02'),
    }
    return DatasetConfig(**(settings | changes))


def log(first: int, last: int) -> pa.Table:
    """The rows of the days from `first` to `last`, counted from 1970-01-01."""
    rows = [
        (f'u{n % 5}', f'i{n % 7 + day}', f's{n % 2}', day * DAY + 3600 * n, n % 3 // 2)
        for day in range(first, last + 1)
        for n in range(20)
    ]
    names = ('user_id', 'item_id', 'scene', 'timestamp', 'click')
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def build(directory: str, **changes) -> str:
    """Builds three days; returns the directory of the current version."""
    without = changes.pop('without_extensions', False)
    return build_dataset(
        config(**changes),
        'shop',
        directory,
        '',
        progress=False,
        reader=TableReader(log(1, 3), shards=1),
        without_extensions=without,
    ).directory


def build_with_another_seed(directory: str) -> str:
    """Builds another version."""
    return build(directory, seed=7)


def extend(directory: str, split: str = 'fourth') -> str:
    """Adds a day; returns the directory of the current version."""
    days = ADDED[split]
    day = int(days[0][-2:]) - 1
    return extend_dataset(
        directory,
        split,
        days,
        None,
        '',
        progress=False,
        reader=TableReader(log(day, day), shards=1),
    ).directory


def contents(version: str) -> dict[str, bytes]:
    """The contents of every file of a version, by name, those of earlier versions included."""
    dataset = open_dataset(version)
    dataset.verify()
    names = [*dataset.manifest.files, 'manifest.json']
    return {name: storage.read_bytes(dataset.path(name)) for name in names}


def own_files(version: str) -> list[str]:
    """The files in the directory of a version."""
    return storage.list_files(version)

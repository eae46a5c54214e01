"""A small dataset in the layout of `mdctr.manifest`, written without Beam, for tests."""

import dataclasses
import itertools
import os

import numpy as np

from mdctr.manifest import (
    Domain,
    Feature,
    Manifest,
    Rows,
    Split,
    read_manifest,
    write_manifest,
)
from tests.example_files import write_example_files

BOUNDARIES = [18.0, 30.0, 45.5]
USERS, ITEMS, GENRES, LENGTH = 60, 40, 8, 4


def make_features():
    """One of each kind; `history` shares the items' vocabulary."""
    return [
        Feature('user_id', 'categorical', 'user', USERS + 1, vocabulary='user_id'),
        Feature('item_id', 'categorical', 'item', ITEMS + 1, vocabulary='item_id'),
        Feature('genres', 'sequence', 'item', GENRES + 1, vocabulary='genres', length=3),
        Feature(
            'history',
            'sequence',
            'user',
            ITEMS + 1,
            vocabulary='item_id',
            length=LENGTH,
            history=True,
        ),
        Feature('age', 'numeric', 'user', len(BOUNDARIES) + 2, boundaries=BOUNDARIES),
    ]


def make_manifest(domains=3, name='tiny', splits=None, **kwargs):
    """The manifest of a dataset of `make_features`."""
    return Manifest(
        name,
        f'fingerprint-of-{name}',
        make_features(),
        [Domain(i, f'd{i}') for i in range(1, domains + 1)],
        splits or {},
        Rows(0, 0, 0, 0, 0, 0, 0),
        **kwargs,
    )


def make_rows(count, domain, rng):
    """Columns of `count` rows of one domain, whose clicks depend on item, age and domain."""
    item = rng.integers(0, ITEMS + 1, count)
    age = rng.integers(0, len(BOUNDARIES) + 2, count)
    logit = np.where(item % 2 == domain % 2, 1.5, -1.5) + 0.5 * (age - 2)
    user = rng.integers(0, USERS + 1, count)
    return {
        'user_id': user,
        'item_id': item,
        'age': age,
        'genres': [rng.integers(0, GENRES + 1, rng.integers(0, 4)) for _ in range(count)],
        'history': [
            rng.integers(0, ITEMS + 1, rng.integers(0, LENGTH + 1)) for _ in range(count)
        ],
        'click': (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int64),
        'user_key': user * 1_000_003 - 7,
        'domain': np.full(count, domain),
        'timestamp': np.full(count, 1_600_000_000),
    }


def write_split(directory, split, rows_of, files=2):
    """Writes rows {domain: columns} to `files` files, or to none if there are no rows."""
    if not rows_of:
        return
    by_domain = [columns for _, columns in sorted(rows_of.items())]
    columns = {
        name: list(itertools.chain.from_iterable(rows[name] for rows in by_domain))
        for name in by_domain[0]
    }
    write_example_files(directory, split, columns, files)


def record_files(directory):
    """Records the files of a dataset anew, after one was changed."""
    write_manifest(directory, dataclasses.replace(read_manifest(directory), files={}))


def write_dataset(directory, rows=None, seed=0, domains=3, name='tiny', **kwargs):
    """Writes a dataset with splits train, validation and test; returns rows by split.

    Args:
        directory: where.
        rows: {split: {domain id: number of rows}}.
    """
    directory = str(directory)
    os.makedirs(directory, exist_ok=True)
    rows = rows or {
        'train': {1: 700, 2: 300, 3: 33},
        'validation': {1: 200, 2: 90, 3: 20},
        'test': {0: 10, 1: 50, 2: 50},
    }
    rng = np.random.default_rng(seed)
    written = {
        split: {domain: make_rows(count, domain, rng) for domain, count in of.items()}
        for split, of in rows.items()
    }
    for split, columns in written.items():
        write_split(directory, split, columns)
    os.makedirs(os.path.join(directory, 'vocabulary'))
    for vocabulary, prefix, size in (
        ('user_id', 'u', USERS),
        ('item_id', 'i', ITEMS),
        ('genres', 'g', GENRES),
    ):
        with open(os.path.join(directory, 'vocabulary', vocabulary + '.txt'), 'w') as file:
            file.writelines(f'{prefix}{n}\n' for n in range(1, size + 1))
    splits = {
        split: Split(
            ('2024-01-01', '2024-01-01'),
            {f'd{d}': len(c['click']) for d, c in columns.items() if d},
            {f'd{d}': int(c['click'].sum()) for d, c in columns.items() if d},
        )
        for split, columns in written.items()
    }
    write_manifest(directory, make_manifest(domains, name, splits, **kwargs))
    return written


def make_batch(rng, size, domains=3):
    """Ids of `size` rows of mixed domains, padded as the reader pads them."""

    def padded(high, length):
        ids = rng.integers(0, high, (size, length))
        kept = rng.integers(0, length + 1, size)
        return np.where(np.arange(length) < kept[:, None], ids, -1).astype(np.int32)

    return {
        'user_id': rng.integers(0, USERS + 1, size).astype(np.int32),
        'item_id': rng.integers(0, ITEMS + 1, size).astype(np.int32),
        'genres': padded(GENRES + 1, 3),
        'history': padded(ITEMS + 1, LENGTH),
        'age': rng.integers(0, len(BOUNDARIES) + 2, size).astype(np.int32),
        'domain': rng.integers(1, domains + 1, size).astype(np.int32),
    }


def build_any(manifest, config):
    """A model of any architecture; one that needs a source model gets a fresh `mlp`."""
    from trainer.config import ModelConfig
    from trainer.models import MODELS, build_model

    source = None
    if MODELS.load(config.name).NEEDS_SOURCE:
        source = build_model(
            manifest,
            ModelConfig(name='mlp', embedding_dim=config.embedding_dim, hidden_units=[6, 5]),
        )
    return build_model(manifest, config, source)

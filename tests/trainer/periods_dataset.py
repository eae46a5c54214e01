"""A small dataset that grows from day to day, for tests."""

import dataclasses

from mdctr.manifest import read_manifest, write_manifest
from tests.trainer.trainer_dataset import ITEMS, USERS, write_dataset

KNOWN_USERS, KNOWN_ITEMS = 31, 21


def write_periods(directory):
    """A dataset of three days of which the first knows half of the users and items, and a
    third domain comes with the second day."""
    rows = {
        'period-1': {1: 300, 2: 200},
        'period-2': {1: 300, 2: 100, 3: 60},
        'validation': {1: 100, 2: 50, 3: 20},
    }
    write_dataset(directory, rows, name='periods')
    manifest = read_manifest(str(directory))
    sizes = {
        'user_id': (KNOWN_USERS, USERS + 1),
        'item_id': (KNOWN_ITEMS, ITEMS + 1),
        'genres': (5, 9),
    }
    write_manifest(
        str(directory),
        dataclasses.replace(
            manifest,
            known_domains={'period-1': 3, 'period-2': 4},
            splits={
                name: dataclasses.replace(split, days=(day, day))
                for (name, split), day in zip(
                    manifest.splits.items(),
                    ('2024-01-01', '2024-01-02', '2024-01-03'),
                    strict=True,
                )
            },
            features=[
                dataclasses.replace(
                    feature,
                    known=dict(
                        zip(('period-1', 'period-2'), sizes[feature.vocabulary], strict=True)
                    ),
                )
                if feature.vocabulary
                else feature
                for feature in manifest.features
            ],
        ),
    )
    return str(directory)

"""A small shop log in CSV and its configuration, as a user would write them."""

import pathlib

import numpy as np

from tests import yaml_files


def write_log(path: pathlib.Path, rows: int = 6000, seed: int = 0, bad: int = 0) -> None:
    """Writes `log_lines` and as many `bad` rows as CSV."""
    lines = log_lines(rows, seed)
    lines += [f'u1,i1,books,{1577836800 + n},maybe,30,a' for n in range(bad)]
    path.write_text('\n'.join(lines) + '\n')


def log_lines(rows: int, seed: int = 0, days: int = 6) -> list[str]:
    """Days of clicks in three shops in order of time; users like items of their own parity."""
    draw = np.random.default_rng(seed)
    user, item = draw.integers(0, 60, rows), draw.integers(0, 40, rows)
    shop = draw.choice(['books', 'music', 'toys'], rows, p=[0.6, 0.3, 0.1])
    time = np.sort(draw.integers(0, days * 86400, rows)) + 1577836800  # 2020-01-01
    liked = (user % 2 == item % 2) * 1.6 - 1.2 + (shop == 'toys') * 0.5
    click = draw.random(rows) < 1 / (1 + np.exp(-liked))
    lines = ['uid,sku,shop,time,clicked,age,tags']
    lines += [
        f'u{u},i{i},{s},{t},{int(c)},{20 + u % 7},a|{"b" if i % 2 else "c"}'
        for u, i, s, t, c in zip(user, item, shop, time, click, strict=True)
    ]
    return lines


def write_config(path: pathlib.Path, log: pathlib.Path | str, **sections) -> str:
    """The configuration; `sections` replace or add top-level ones. Returns its path."""
    config = {
        'name': 'shops',
        'dataset': {
            'reader': 'generic',
            'inputs': [str(log)],
            'reader_options': {
                'columns': {
                    'user_id': 'uid',
                    'item_id': 'sku',
                    'timestamp': 'time',
                    'click': 'clicked',
                },
                'list_columns': ['tags'],
            },
            'domain_columns': ['shop'],
            'user_buckets': 3,
            'split': {
                'days': {
                    'train': ['2020-01-01', '2020-01-04'],
                    'validation': ['2020-01-05', '2020-01-05'],
                    'test': ['2020-01-06', '2020-01-06'],
                }
            },
            'features': [
                {'name': 'user_id', 'owner': 'user'},
                {'name': 'item_id', 'owner': 'item'},
                {'name': 'age', 'owner': 'user', 'kind': 'numeric', 'buckets': 4},
                {'name': 'tags', 'owner': 'item', 'kind': 'sequence', 'max_length': 3},
                {
                    'name': 'recent',
                    'owner': 'user',
                    'kind': 'history',
                    'feature': 'item_id',
                    'max_length': 5,
                },
            ],
        },
        'train': {
            'model': {'name': 'star', 'embedding_dim': 4, 'hidden_units': [8]},
            'batch_size': 128,
            'epochs': 3,
            'learning_rate': 0.01,
        },
        'evaluate': {
            'max_gauc_drop': 0.05,
            'pcoc_band': [0.5, 2.0],
            'bootstrap_replicates': 10,
        },
        **sections,
    }
    return yaml_files.write(path, config)

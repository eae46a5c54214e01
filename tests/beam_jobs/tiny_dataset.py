"""A dataset and a SavedModel small enough to compute by hand, in the documented layouts."""

import os

import numpy as np
import pyarrow as pa

from mdctr.exported_model import write_model_json
from mdctr.manifest import Domain, Feature, Manifest, Rows, Split, write_manifest
from tests.example_files import write_example_files

USERS, ITEMS, GENRES, LENGTH = 30, 12, 5, 3
BOUNDARIES = [18.0, 30.0]
DOMAINS = ['a', 'b|x']
FEATURES = [
    Feature('user_id', 'categorical', 'user', USERS + 1, vocabulary='user_id'),
    Feature('item_id', 'categorical', 'item', ITEMS + 1, vocabulary='item_id'),
    Feature('age', 'numeric', 'user', len(BOUNDARIES) + 2, boundaries=BOUNDARIES),
    Feature('genres', 'sequence', 'item', GENRES + 1, vocabulary='genres', length=LENGTH),
]


def make_rows(count, seed=0):
    """Columns of `count` rows of both domains, domain by domain; clicks are likelier for
    items with large ids."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, ITEMS + 1, count)
    user = rng.integers(0, USERS + 1, count)
    return {
        'user_id': user,
        'item_id': item,
        'age': rng.integers(0, len(BOUNDARIES) + 2, count),
        'genres': [
            rng.integers(0, GENRES + 1, size) for size in rng.integers(0, LENGTH + 1, count)
        ],
        'domain': np.sort(rng.integers(1, 3, count)),
        'timestamp': 1_600_000_000 + np.arange(count),
        'user_key': user * 7 - 3,
        'click': (rng.random(count) < 0.2 + 0.5 * item / ITEMS).astype(np.int64),
    }


def write_dataset(
    directory, splits, fingerprint='of-tiny', files=2, statistics=False, **manifest
):
    """Writes a dataset of `splits`: {name: columns}."""
    directory = str(directory)
    for name, columns in splits.items():
        write_example_files(directory, name, columns, files)
        if statistics:
            write_statistics(directory, name, columns)
    os.makedirs(os.path.join(directory, 'vocabulary'))
    for name, lines in vocabularies().items():
        with open(os.path.join(directory, 'vocabulary', f'{name}.txt'), 'w') as file:
            file.writelines(line + '\n' for line in lines)
    write_manifest(
        directory,
        Manifest(
            'tiny',
            fingerprint,
            FEATURES,
            [Domain(i, name) for i, name in enumerate(DOMAINS, start=1)],
            {name: _split(columns) for name, columns in splits.items()},
            Rows(0, 0, 0, 0, 0, 0, 0),
            **manifest,
        ),
    )
    return directory


def vocabularies():
    """The lines of each vocabulary file."""
    return {
        'user_id': [f'u{n}' for n in range(1, USERS + 1)],
        'item_id': [f'i{n}' for n in range(1, ITEMS + 1)],
        'genres': [f'g{n}' for n in range(1, GENRES + 1)],
        'domain': DOMAINS,
    }


def record_batch(columns):
    """Columns as `list<int64>`, as they go through a build."""
    lists = [
        pa.array([np.atleast_1d(value).tolist() for value in values], pa.list_(pa.int64()))
        for values in columns.values()
    ]
    return pa.RecordBatch.from_arrays(lists, list(columns))


def write_statistics(directory, split, columns):
    """The statistics of all rows of a split, and the rows as a sample."""
    from beam_jobs.build.statistics import compute_statistics, statistics_path, write_sample

    path = statistics_path(directory, split)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    table = pa.Table.from_batches([record_batch(columns)])
    with open(path, 'wb') as file:
        file.write(compute_statistics(table).SerializeToString())
    write_sample(directory, split, table)


def item_weights(seed=0):
    """What the model adds for each item id; larger for items that are clicked more."""
    noise = np.random.default_rng(seed).normal(0, 0.3, ITEMS + 1)
    return (-1.2 + 2.2 * np.arange(ITEMS + 1) / ITEMS + noise).astype(np.float32)


def expected_scores(columns, weights):
    """The model's scores, in NumPy."""
    count = np.array([len(ids) for ids in columns['genres']])
    logit = (
        weights[columns['item_id']]
        + 0.1 * columns['domain']
        - 0.05 * columns['age']
        + 0.02 * count
    )
    return 1 / (1 + np.exp(-logit))


def write_model(directory, weights, fingerprint='of-tiny', reverse=False, features=None):
    """A SavedModel whose signatures score as `expected_scores`.

    Args:
        directory: where.
        weights: by the dataset's item ids.
        fingerprint: of the dataset that it claims to be trained on.
        reverse: its own item ids are in the opposite order of the dataset's.
        features: what `model.json` says that it takes.
    """
    import tensorflow as tf

    items = vocabularies()['item_id']
    own = np.concatenate([weights[:1], weights[:0:-1]]) if reverse else weights
    lines = items[::-1] if reverse else items
    module = tf.Module()
    module.weights = tf.Variable(own)
    module.items = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(lines, tf.range(1, len(lines) + 1, dtype=tf.int64)),
        0,
    )
    module.domains = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            DOMAINS, tf.range(1, len(DOMAINS) + 1, dtype=tf.int64)
        ),
        0,
    )

    def score(item, age, count, domain):
        logit = (
            tf.gather(module.weights, item)
            + 0.1 * tf.cast(domain, tf.float32)
            - 0.05 * tf.cast(age, tf.float32)
            + 0.02 * count
        )
        return {'score': tf.sigmoid(logit)}

    def spec(kind, name, rank=1):
        return tf.TensorSpec([None] * rank, kind, name)

    @tf.function(
        input_signature=[
            spec(tf.int64, 'item_id'),
            spec(tf.int64, 'age'),
            spec(tf.int64, 'genres', 2),
            spec(tf.int64, 'domain'),
        ]
    )
    def encoded(item_id, age, genres, domain):
        count = tf.reduce_sum(tf.cast(genres >= 0, tf.float32), axis=1)
        return score(item_id, age, count, domain)

    @tf.function(
        input_signature=[
            spec(tf.string, 'item_id'),
            spec(tf.float32, 'age'),
            spec(tf.string, 'genres', 2),
            spec(tf.string, 'domain'),
        ]
    )
    def raw(item_id, age, genres, domain):
        buckets = 1 + tf.searchsorted(BOUNDARIES, age, side='right')
        buckets = tf.where(tf.math.is_nan(age), 0, buckets)
        count = tf.reduce_sum(tf.cast(genres != '', tf.float32), axis=1)
        return score(
            module.items.lookup(item_id), buckets, count, module.domains.lookup(domain)
        )

    directory = str(directory)
    tf.saved_model.save(
        module, directory, signatures={'encoded': encoded, 'serving_default': raw}
    )
    write_model_json(
        directory,
        {
            'model': 'tiny',
            'framework': 'none',
            'features': features or ['item_id', 'age', 'genres'],
            'dataset': {'name': 'tiny', 'fingerprint': fingerprint},
        },
    )
    return directory


def _split(columns):
    examples, clicks = {}, {}
    for number, name in enumerate(DOMAINS, start=1):
        mine = columns['domain'] == number
        if mine.any():
            examples[name] = int(mine.sum())
            clicks[name] = int(columns['click'][mine].sum())
    return Split(('2020-09-13', '2020-09-13'), examples, clicks)

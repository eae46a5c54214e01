"""What passes between workers and servers: `python -m tests.benchmarks.parameter_servers`.

Rows of embeddings, and bytes, pulled from and pushed to the parameter servers in an epoch,
with the caches of MAMDR's figure 7 and without: then every step of the same passes over the
domains pulls what its batch reads and pushes a gradient of it (the framework `alternate`).
The rows are those of the functions that workers run, counted where they pull and push. All
run in this process, one after another, which changes no count.

Processor seconds are those of an epoch in this process, with servers whose calls cost next to
nothing; on a network each pull and push waits for its answer besides.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from beam_jobs.dataset import Domain, Feature, Manifest, Rows, Split, write_manifest
from trainer.config import ModelConfig, TrainConfig
from trainer.distributed.cluster import Alone
from trainer.distributed.framework import Distributed
from trainer.examples import Examples
from trainer.frameworks import make_framework
from trainer.keras import keras, tf
from trainer.models import build_model

FEATURES = 6
SKEW = 3  # of ids: with 3, a hundredth of them are more than a fifth of the rows
RUNS = {
    'without caches': ('alternate', {}),
    'with, slots kept': ('domain_negotiation', {'slots': 'run'}),
    'with, slots of a loop': ('domain_negotiation', {'slots': 'loop'}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rows', type=int, default=60_000, help='of the training split')
    parser.add_argument('--domains', type=int, default=10)
    parser.add_argument('--ids', type=int, default=20_000, help='of each of six features')
    parser.add_argument('--batch-size', type=int, default=500)
    parser.add_argument('--dim', type=int, default=16)
    parser.add_argument('--workers', type=int, nargs='+', default=[1, 2, 8])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        write(directory, arguments)
        print(f'{arguments.rows:,} rows of {FEATURES} ids, {arguments.domains} domains, '
              f'{FEATURES * arguments.ids:,} embeddings of {arguments.dim}, batches of '
              f'{arguments.batch_size}, Adam; an epoch')
        print(f'{"workers":>7}  {"caches":<22}{"rows pulled":>13}{"rows pushed":>13}'
              f'{"MB pulled":>11}{"MB pushed":>11}{"processor s":>13}')
        for workers in arguments.workers:
            for name, (framework, options) in RUNS.items():
                counts, seconds = epoch(directory, arguments, framework, options, workers)
                print(f'{workers:>7}  {name:<22}{counts[0]:>13,}{counts[1]:>13,}'
                      f'{counts[2] / 1e6:>11.1f}{counts[3] / 1e6:>11.1f}{seconds:>13.1f}')


def epoch(directory: str, arguments: argparse.Namespace, name: str, options: dict,
          workers: int) -> tuple[np.ndarray, float]:
    """The traffic of a second epoch, and its processor seconds; the first one traces."""
    keras.utils.set_random_seed(1)
    examples = Examples(directory, 'train')
    config = TrainConfig(
        model=ModelConfig(name='mlp', embedding_dim=arguments.dim, hidden_units=[64, 32],
                          normalization='none'),
        framework=name, framework_options=options, batch_size=arguments.batch_size)
    framework = make_framework(config, build_model(examples.manifest, config.model), examples)
    distributed = Distributed(framework, Alone(workers, servers=2))
    list(distributed.epoch(0))
    start = time.process_time()
    list(distributed.epoch(1))
    return distributed.traffic, time.process_time() - start


def write(directory: str, arguments: argparse.Namespace) -> None:
    """A training split of random ids, of which few are frequent."""
    rng = np.random.default_rng(0)
    features = [Feature(f'f{i}', 'categorical', 'user', arguments.ids, vocabulary=f'f{i}')
                for i in range(FEATURES)]
    write_manifest(directory, Manifest(
        'made-up', 'made-up', features,
        [Domain(i, f'd{i}') for i in range(1, arguments.domains + 1)],
        {'train': Split(('2024-01-01', '2024-01-01'), {}, {})}, Rows(0, 0, 0, 0, 0, 0, 0)))
    folder = os.path.join(directory, 'examples', 'train')
    os.makedirs(folder)
    shares = np.linspace(1, 1 / 3, arguments.domains)
    index = []
    for domain, count in enumerate((arguments.rows * shares / shares.sum()).astype(int), 1):
        path = os.path.join(folder, f'{domain}.tfrecord')
        ids = (arguments.ids * rng.random((count, FEATURES)) ** SKEW).astype(np.int64)
        clicks = rng.random(count) < 0.3
        with tf.io.TFRecordWriter(path) as writer:
            for row, click in zip(ids, clicks, strict=True):
                writer.write(_example({**{f'f{i}': value for i, value in enumerate(row)},
                                       'click': click, 'user_key': row[0]}))
        index.append((domain, f'{domain}.tfrecord', 0, os.path.getsize(path), count))
    names = ['domain', 'file', 'offset', 'bytes', 'examples']
    pyarrow.parquet.write_table(
        pa.table({name: [each[i] for each in index] for i, name in enumerate(names)}),
        os.path.join(folder, 'index.parquet'))


def _example(row: dict[str, int]) -> bytes:
    feature = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))
               for name, value in row.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


if __name__ == '__main__':
    main()

"""Examples per second of every model's training step, beside `mlp` in the same run.

    python -m tests.benchmarks.train_step [--models mlp,star] [--rounds 15]

256-128-64, batches of 2048 rows, 16 features embedded in 16 dimensions, Adam. The models are
timed in turns, so that what else the machine does falls on all alike; a figure is the median
over the rounds. Then the input: rows per second that the reader delivers, and the share of
training that waits for it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import numpy as np

from beam_jobs.dataset import Domain, Feature, Manifest, Rows, Split, write_manifest
from trainer.config import ModelConfig, TrainConfig
from trainer.examples import Examples, prefetch
from trainer.keras import keras, tf
from trainer.models import MODELS, build_model
from trainer.optimizers import make_optimizer
from trainer.step import TrainStep

BATCH, FEATURES, VOCABULARY = 2048, 16, 10_000
STEPS_A_TURN = 4
READER_ROWS = 120_000


def make_manifest(domains: int) -> Manifest:
    """Sixteen categorical features of ten thousand values."""
    features = [Feature(f'f{i}', 'categorical', 'context', VOCABULARY, vocabulary=f'f{i}')
                for i in range(FEATURES)]
    return Manifest('benchmark', 'none', features,
                    [Domain(i, str(i)) for i in range(1, domains + 1)],
                    {'train': Split(('2024-01-01', '2024-01-01'), {}, {})},
                    Rows(0, 0, 0, 0, 0, 0, 0))


def make_batches(domains: int, mixed: bool, count: int = 32) -> list[dict[str, tf.Tensor]]:
    """Batches of ids that are frequent as words are."""
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(count):
        ids = np.minimum(rng.zipf(1.2, (FEATURES, BATCH)), VOCABULARY - 1).astype(np.int32)
        domain = rng.integers(1, domains + 1, BATCH if mixed else None)
        batches.append({**{f'f{i}': tf.constant(ids[i]) for i in range(FEATURES)},
                        'domain': tf.constant(domain, tf.int32),
                        'click': tf.constant(rng.integers(0, 2, BATCH), tf.float32)})
    return batches


def make_step(name: str, domains: int) -> TrainStep:
    keras.utils.set_random_seed(1)
    model = build_model(make_manifest(domains), ModelConfig(name=name))
    return TrainStep(model, make_optimizer('adam', 0.001))


def speeds(names: list[str], domains: int, mixed: bool, rounds: int) -> dict[str, float]:
    """Examples per second by model, the medians of turns taken one after another."""
    batches = make_batches(domains, mixed)
    steps = {name: make_step(name, domains) for name in names}
    for step in steps.values():
        for batch in batches[:3]:
            step(batch)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        # Every other round backwards: no model always follows the same one.
        for name in names if turn % 2 else reversed(names):
            start = time.perf_counter()
            for i in range(STEPS_A_TURN):
                loss = steps[name](batches[(turn * STEPS_A_TURN + i) % len(batches)])
            loss.numpy()
            times[name].append(time.perf_counter() - start)
    return {name: STEPS_A_TURN * BATCH / statistics.median(taken)
            for name, taken in times.items()}


def write_dataset(directory: str, rows: int, domains: int) -> None:
    """A training split in the layout of `beam_jobs.dataset`, in one file."""
    import os

    import pyarrow as pa
    import pyarrow.parquet
    rng = np.random.default_rng(0)
    folder = os.path.join(directory, 'examples', 'train')
    os.makedirs(folder)
    ids = np.minimum(rng.zipf(1.2, (rows, FEATURES)), VOCABULARY - 1)
    index, offset, path = [], 0, os.path.join(folder, 'part-00000-of-00001.tfrecord')
    with tf.io.TFRecordWriter(path) as writer:
        for domain in range(1, domains + 1):
            mine = range(domain - 1, rows, domains)
            size = 0
            for row in mine:
                values = {**{f'f{i}': ids[row, i] for i in range(FEATURES)},
                          'click': row % 2, 'user_key': row, 'domain': domain, 'timestamp': 0}
                record = tf.train.Example(features=tf.train.Features(feature={
                    name: tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))
                    for name, value in values.items()})).SerializeToString()
                writer.write(record)
                size += len(record) + 16
            index.append((domain, os.path.basename(path), offset, size, len(mine)))
            offset += size
    names = ['domain', 'file', 'offset', 'bytes', 'examples']
    pyarrow.parquet.write_table(
        pa.table({name: [row[i] for row in index] for i, name in enumerate(names)}),
        os.path.join(folder, 'index.parquet'))
    write_manifest(directory, make_manifest(domains))


def reader_speed(examples: Examples, kind: str) -> float:
    """Rows per second of a pass that does nothing but read."""
    start, rows = time.perf_counter(), 0
    for batch in prefetch(examples.epoch(0, BATCH, kind)):
        rows += batch['click'].shape[0]
    return rows / (time.perf_counter() - start)


def waiting_share(step: TrainStep, examples: Examples) -> float:
    """The share of an epoch that the step waits for a batch."""
    waited, start = 0.0, time.perf_counter()
    batches = prefetch(examples.epoch(0, BATCH))
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - asked
        if batch is None:
            return waited / (time.perf_counter() - start)
        step(batch).numpy()


def print_models(names: list[str], rounds: int) -> float:
    """The table of models; returns mlp's examples per second."""
    columns = [('1 domain', 1, False), ('20 domains', 20, False), ('60 domains', 60, False),
               ('20 mixed', 20, True)]
    measured = [speeds(names, domains, mixed, rounds) for _, domains, mixed in columns]
    print(f'{"examples/s (of mlp)":24}' + ''.join(f'{title:>20}' for title, _, _ in columns))
    for name in names:
        cells = [f'{of[name]:,.0f} ({of[name] / of["mlp"]:.2f})' for of in measured]
        print(f'{name:24}' + ''.join(f'{cell:>20}' for cell in cells))
    return measured[1]['mlp']


def print_reader(step_speed: float) -> None:
    """The table of the reader."""
    with tempfile.TemporaryDirectory() as directory:
        write_dataset(directory, READER_ROWS, 20)
        streamed = Examples(directory, 'train', memory=READER_ROWS * 30)
        kept = Examples(directory, 'train')
        print(f'\n{"input":24}{"examples/s":>20}{"of mlp step":>20}')
        for title, examples, kind in (
                ('streamed', streamed, 'domain'), ('first epoch', kept, 'domain'),
                ('later epochs', kept, 'domain'), ('later epochs, mixed', kept, 'mixed')):
            speed = reader_speed(examples, kind)
            print(f'{title:24}{speed:>20,.0f}{speed / step_speed:>20.1f}')
        step = make_step('mlp', 20)
        next_batch = next(prefetch(kept.epoch(0, BATCH)))
        step(next_batch)
        for title, examples in (('streamed', streamed), ('later epochs', kept)):
            print(f'share of mlp training that waits for input, {title}: '
                  f'{waiting_share(step, examples):.1%}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--models', default=','.join(MODELS), help='names, mlp among them')
    parser.add_argument('--rounds', type=int, default=15)
    arguments = parser.parse_args()
    config = TrainConfig()
    print(f'CPU of {len(tf.config.list_logical_devices("CPU"))} device, '
          f'GPU {[gpu.name for gpu in tf.config.list_physical_devices("GPU")]}, '
          f'optimizer {config.optimizer}')
    print_reader(print_models(arguments.models.split(','), arguments.rounds))


if __name__ == '__main__':
    main()

"""Traffic between workers and servers: `python -m tests.benchmarks.parameter_servers`.

Rows of embeddings, and bytes, pulled from and pushed to the parameter servers in an epoch,
with the caches of MAMDR's figure 7 and without: then every step of the same passes over the
domains pulls what its batch reads and pushes a gradient of it (the framework `alternate`).
The rows are counted where the functions that workers run pull and push. All of them run in this
process, one after another, which changes no count.

Processor seconds are those of an epoch in this process, with servers whose calls cost next to
nothing; on a network, each pull and push also waits for its answer.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import numpy as np

from mdctr.dataset import open_dataset
from mdctr.manifest import Feature, write_manifest
from tests.benchmarks.made_up import made_up_manifest, write_rows
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.distributed.cluster import LocalCluster
from trainer.distributed.framework import DistributedFramework
from trainer.frameworks import make_framework
from trainer.keras import keras
from trainer.models import build_model

FEATURES = 6
SKEW = 3  # of ids: with 3, a hundredth of them are more than a fifth of the rows
RUNS = {
    'without caches': ('alternate', {}),
    'with, slots kept': ('domain_negotiation', {'slot_lifetime': 'run'}),
    'with, slots of a loop': ('domain_negotiation', {'slot_lifetime': 'loop'}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rows', type=int, default=60_000, help='rows of the training split')
    parser.add_argument('--domains', type=int, default=10)
    parser.add_argument(
        '--ids', type=int, default=20_000, help='values of each of six features'
    )
    parser.add_argument('--batch-size', type=int, default=500)
    parser.add_argument('--dim', type=int, default=16)
    parser.add_argument('--workers', type=int, nargs='+', default=[1, 2, 8])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        write(directory, arguments)
        print(
            f'{arguments.rows:,} rows of {FEATURES} ids, {arguments.domains} domains, '
            f'{FEATURES * arguments.ids:,} embeddings of {arguments.dim}, batches of '
            f'{arguments.batch_size}, Adam; an epoch'
        )
        print(
            f'{"workers":>7}  {"caches":<22}{"rows pulled":>13}{"rows pushed":>13}'
            f'{"MB pulled":>11}{"MB pushed":>11}{"processor s":>13}'
        )
        for workers in arguments.workers:
            for name, (framework, options) in RUNS.items():
                counts, seconds = epoch(directory, arguments, framework, options, workers)
                print(
                    f'{workers:>7}  {name:<22}{counts[0]:>13,}{counts[1]:>13,}'
                    f'{counts[2] / 1e6:>11.1f}{counts[3] / 1e6:>11.1f}{seconds:>13.1f}'
                )


def epoch(
    directory: str, arguments: argparse.Namespace, name: str, options: dict, workers: int
) -> tuple[np.ndarray, float]:
    """The traffic of a second epoch, and its processor seconds; the first one traces."""
    keras.utils.set_random_seed(1)
    examples = Examples(open_dataset(directory), 'train')
    config = TrainConfig(
        model=ModelConfig(
            name='mlp', embedding_dim=arguments.dim, hidden_units=[64, 32], normalization='none'
        ),
        framework=name,
        framework_options=options,
        batch_size=arguments.batch_size,
    )
    framework = make_framework(config, build_model(examples.manifest, config.model), examples)
    distributed = DistributedFramework(framework, LocalCluster(workers, servers=2))
    list(distributed.epoch(0))
    start = time.process_time()
    list(distributed.epoch(1))
    return distributed.traffic, time.process_time() - start


def write(directory: str, arguments: argparse.Namespace) -> None:
    """A training split of random ids, of which few are frequent."""
    rng = np.random.default_rng(0)
    features = [
        Feature(f'f{i}', 'categorical', 'user', arguments.ids, vocabulary=f'f{i}')
        for i in range(FEATURES)
    ]
    write_manifest(directory, made_up_manifest(features, arguments.domains))
    shares = np.linspace(1, 1 / 3, arguments.domains)
    counts = (arguments.rows * shares / shares.sum()).astype(int)
    domain = np.repeat(np.arange(1, arguments.domains + 1), counts)
    places, clicks = map(
        np.concatenate,
        zip(
            *((rng.random((count, FEATURES)), rng.random(count)) for count in counts),
            strict=True,
        ),
    )
    ids = (arguments.ids * places**SKEW).astype(np.int64)
    write_rows(directory, ids, domain, (clicks < 0.3).astype(np.int64), ids[:, 0])


if __name__ == '__main__':
    main()

"""Measures the cost of the learning frameworks: `python -m tests.benchmarks.frameworks`.

1. An epoch of MAMDR against (k + 1) epochs of joint training, with k helpers per domain.
2. A snapshot, an inner step and a move with vocabularies of 1,000 and of 10,000,000 ids.
3. Only with `--many 50 500 5000`: a step of STAR, and the cost of MAMDR's specific parameters
   per domain, with this many domains.

Epochs are timed in turn, and the least of several is reported; the first, which traces the
graphs, is not timed. Processor seconds of all threads are printed next to elapsed time, which
says little on a machine that does other work.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mdctr.dataset import open_dataset
from mdctr.manifest import Feature, write_manifest
from tests.benchmarks.made_up import made_up_manifest, write_rows
from trainer.config import ModelConfig, TrainConfig
from trainer.data.columns import Columns
from trainer.data.examples import Examples
from trainer.data.in_memory_rows import InMemoryRows
from trainer.frameworks import make_framework
from trainer.frameworks.core.snapshot import InnerStep
from trainer.keras import keras, tf
from trainer.models import build_model
from trainer.optimizers.row_wise import make_optimizer

BATCH = 1000
FEATURES = 6
SKEW = 3  # of ids: with 3, a hundredth of them are more than a fifth of the rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rows', type=int, default=60_000, help='rows of the training split')
    parser.add_argument('--domains', type=int, default=10)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--model', default='mlp')
    parser.add_argument('--helpers', type=int, nargs='+', default=[1, 3, 5])
    parser.add_argument(
        '--many',
        type=int,
        nargs='+',
        default=[],
        help='numbers of domains; prints only the third table',
    )
    arguments = parser.parse_args()
    if arguments.many:
        many_domains(arguments.many)
        return
    epochs(arguments)
    vocabularies(arguments.repeats)


def epochs(arguments: argparse.Namespace) -> None:
    """Prints the cost of an epoch of each framework, and its bound."""
    examples = made_up(arguments.rows, arguments.domains, 20_000)
    runs = {'joint': {}, 'alternate': {}, 'domain_negotiation': {}}
    made = {
        name: framework(examples, arguments.model, name, options)
        for name, options in runs.items()
    }
    for k in arguments.helpers:
        made[f'mamdr, k = {k}'] = framework(
            examples, arguments.model, 'mamdr', {'helper_domains': k}
        )
    seconds = {name: [] for name in made}
    for number in range(arguments.repeats + 1):
        for name, each in made.items():
            start = time.perf_counter(), time.process_time()
            for progress in each.epoch(number):
                float(progress.loss)
            if number:
                seconds[name].append(
                    (time.perf_counter() - start[0], time.process_time() - start[1])
                )
    print(
        f'{arguments.rows} rows, {arguments.domains} domains, batches of {BATCH}, '
        f'{arguments.model}'
    )
    print(f'{"":<22}{"seconds an epoch":>24}{"of joint":>20}{"at most":>10}')
    print(f'{"framework":<22}{"clock":>12}{"processor":>12}{"clock":>10}{"processor":>10}')
    joint = np.min(seconds['joint'], axis=0)
    for name, times in seconds.items():
        clock, processor = least = np.min(times, axis=0)
        bound = f'{1.1 * (int(name.split()[-1]) + 1):.1f}' if name.startswith('mamdr') else ''
        print(
            f'{name:<22}{clock:>12.2f}{processor:>12.2f}{least[0] / joint[0]:>10.2f}'
            f'{least[1] / joint[1]:>10.2f}{bound:>10}'
        )


def vocabularies(repeats: int) -> None:
    """Prints the cost of a loop of steps with two sizes of the vocabulary."""
    print(f'\n{"ids":>12}{"take, ms":>10}{"step, ms":>10}{"move, ms":>10}{"rows moved":>12}')
    for size in (1_000, 10_000_000):
        costs, rows = loop_costs(size, repeats)
        print(f'{size:>12}', *(f'{each:>9.2f}' for each in costs), f'{rows:>11}')


def loop_costs(size: int, repeats: int, steps: int = 10) -> tuple[list[float], int]:
    """Milliseconds of a snapshot, a step and a move, the least of several loops; rows moved."""
    examples = made_up(BATCH * steps, 1, size, names=1)
    model = build_model(
        examples.manifest,
        ModelConfig(name='mlp', embedding_dim=8, hidden_units=[32], normalization='none'),
    )
    step = InnerStep(model, make_optimizer('sgd', 0.01))
    batches = [
        {name: tf.constant(value) for name, value in batch.items()}
        for batch in examples.epoch(0, BATCH)
    ]
    costs = []
    for _ in range(repeats + 2):
        times = [time.perf_counter()]
        step.take()
        times.append(time.perf_counter())
        for batch in batches:
            loss = step(batch)
        float(loss)
        times.append(time.perf_counter())
        step.move(0.5)
        model.embedding.table.sparse_read([0]).numpy()
        times.append(time.perf_counter())
        costs.append(np.diff(times) * 1000 / [1, steps, 1])
    rows = len(step.snapshot.parts()[1][0].indices)
    return np.min(costs, axis=0).tolist(), rows


def many_domains(counts: list[int], rows: int = 40, vocabulary: int = 100_000) -> None:
    """Prints the cost of a step and of a domain with several numbers of domains."""
    print(
        f'{rows} rows a domain, batches of {rows // 2}, {FEATURES} features of '
        f'{vocabulary:,} ids; processor time'
    )
    print(f'{"":>9}{"STAR":>24}{"MAMDR, specific parameters of all variables":>55}')
    print(
        f'{"domains":>9}{"ms a step":>12}{"MiB":>12}{"ms a domain":>14}{"KiB a domain":>14}'
        f'{"of a copy":>12}{"checkpoint, s":>15}'
    )
    for count in counts:
        examples = made_up(rows * count, count, vocabulary, even=True)
        print(
            f'{count:>9}',
            *(f'{each:>11.2f}' for each in star_costs(examples, rows // 2)),
            '{:>13.2f} {:>13.1f} {:>11.1%} {:>14.2f}'.format(*mamdr_costs(examples, rows // 2)),
            flush=True,
        )


def star_costs(examples: Examples, size: int, steps: int = 200) -> tuple[float, float]:
    """Milliseconds of a step, and MiB of the model's and the optimizer's variables."""
    each = framework(examples, 'star', 'joint', {}, size, [32, 16])
    batches = list(itertools.islice(examples.epoch(0, size), steps + 20))
    first, best = batches[:20], float('inf')
    parts: list[Any] = [first, *np.array_split(np.array(batches, object)[20:], 5)]
    for part in parts:
        start = time.process_time()
        for batch in part:
            loss = each.step(batch)
        float(loss)
        if part is not first:
            best = min(best, (time.process_time() - start) / len(part))
    variables = [*each.model.variables, *each.optimizer.variables]
    return best * 1000, sum(variable.numpy().nbytes for variable in variables) / 2**20


def mamdr_costs(examples: Examples, size: int, domains: int = 40) -> tuple[float, ...]:
    """Of algorithm 2: milliseconds a domain, KiB of its theta_i and their share of a whole
    copy of the model; then seconds of a checkpoint in which every domain has one."""
    each = framework(examples, 'mlp', 'mamdr', {'helper_domains': 1}, size, [32, 16])
    regularization, specific = each.regularization, each.domain_specific
    targets = examples.domains[:domains]
    best = float('inf')
    for number in range(4):
        start = time.process_time()
        for progress in regularization.epoch(number, targets=targets):
            float(progress.loss)
        if number:
            best = min(best, (time.process_time() - start) / len(targets))
    mine = [len(specific.deltas[domain].serialize()) for domain in targets]
    copy = sum(variable.numpy().nbytes for variable in each.model.trainable_variables)
    for domain in examples.domains[domains:]:
        specific.deltas[domain].copy_from(specific.deltas[targets[0]])
    with tempfile.TemporaryDirectory() as directory:
        start = time.process_time()
        specific.trackable().write(os.path.join(directory, 'all'))
        saved = time.process_time() - start
    return best * 1000, np.mean(mine) / 1024, np.mean(mine) / copy, saved


def framework(
    examples: Examples,
    model: str,
    name: str,
    options: dict,
    size: int = BATCH,
    hidden_units: Sequence[int] = (256, 128, 64),
):
    """A framework over a new model of the usual size."""
    keras.utils.set_random_seed(1)
    config = TrainConfig(
        model=ModelConfig(name=model, hidden_units=list(hidden_units)),
        framework=name,
        batching='domain',
        framework_options=options,
        batch_size=size,
    )
    return make_framework(config, build_model(examples.manifest, config.model), examples)


class MadeUp(Examples):
    """Examples of random ids in memory, instead of decoded files."""

    def __init__(self, dataset: str, columns: dict[int, Columns]):
        super().__init__(open_dataset(dataset), 'train')
        self._counts = {domain: len(rows) for domain, rows in columns.items()}
        self.domains = sorted(columns)
        self.in_memory = True
        self._rows = MadeUpRows(columns)


class MadeUpRows(InMemoryRows):
    """The rows of `MadeUp`."""

    def __init__(self, columns: dict[int, Columns]):
        super().__init__(
            {domain: len(rows) for domain, rows in columns.items()},
            lambda: Columns.concatenate([columns[domain] for domain in sorted(columns)]),
        )


def made_up(
    rows: int, domains: int, size: int, names: int = FEATURES, even: bool = False
) -> Examples:
    """Rows of random ids; the domains' shares fall from first to last, one to three, or are
    equal."""
    rng = np.random.default_rng(0)
    shares = np.linspace(1, 1 if even else 1 / 3, domains)
    counts = np.maximum(1, rows * shares / shares.sum()).astype(int)
    features = [
        Feature(f'f{i}', 'categorical', 'user', size, vocabulary=f'f{i}') for i in range(names)
    ]
    with tempfile.TemporaryDirectory() as directory:
        one = np.ones(1, np.int64)  # `MadeUp` replaces the rows of the files
        write_rows(directory, np.ones((1, names), np.int64), one, one, one)
        write_manifest(directory, made_up_manifest(features, domains))
        return _in_memory(directory, rng, counts, size, names)


def _in_memory(directory, rng, counts, size, names):
    columns = {}
    for domain, count in enumerate(counts.tolist(), 1):
        columns[domain] = Columns(
            (size * rng.random((count, names)) ** SKEW).astype(np.int32),
            {},
            (rng.random(count) < 0.3).astype(np.int8),
            rng.integers(0, 1000, count),
        )
    return MadeUp(directory, columns)


if __name__ == '__main__':
    main()

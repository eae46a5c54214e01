"""Examples per second of every model's training step, relative to `mlp` in the same run.

    python -m tests.benchmarks.train_step [--models "mlp star star:normalization=bn"]
    python -m tests.benchmarks.train_step --models "mlp star" --many-domains

256-128-64, batches of 2048 rows, 16 features embedded in 16 dimensions, Adam. Models that
attend to histories have one of 10 clicks in addition, and a star in the table. The models are
timed in turn, so that other work on the machine affects all of them; a figure is the median
over the rounds. The last columns are the multiplications of matrix products per row, in a
batch of one domain, and the share of this machine's rate of matrix products, measured in the
same rounds, that a training step (three times as many) reaches with 20 domains. Then the input:
rows per second that the reader delivers, again a median, and the share of training time spent
waiting for it.

With `--many-domains`, mixed batches of 250 domains of equal size and of 1,000 whose sizes
follow Zipf's law instead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import numpy as np

from mdctr.dataset import open_dataset
from mdctr.errors import UserError
from mdctr.manifest import Feature, Manifest, write_manifest
from pipeline.compare.methods import parse_variant, with_model
from tests.benchmarks.made_up import made_up_manifest, write_rows
from tests.benchmarks.multiplications import multiplications
from trainer.config import ModelConfig, TrainConfig
from trainer.data.examples import Examples
from trainer.data.prefetch import prefetch
from trainer.keras import keras, tf
from trainer.loop.step import TrainStep
from trainer.models import MODELS, build_model
from trainer.optimizers.row_wise import make_optimizer

BATCH, FEATURES, VOCABULARY = 2048, 16, 10_000
HISTORY = 10
STEPS_A_TURN = 4
READER_ROWS = 400_000
READER_ROUNDS = 7


def make_manifest(domains: int, history: bool = False) -> Manifest:
    """Sixteen categorical features of ten thousand values: the first is the user, the second
    the item, of which the history, if there is one, remembers clicks."""
    owners = ['user', 'item', *['context'] * (FEATURES - 2)]
    features = [
        Feature(f'f{i}', 'categorical', owner, VOCABULARY, vocabulary=f'f{i}')
        for i, owner in enumerate(owners)
    ]
    if history:
        features.append(
            Feature(
                'history',
                'sequence',
                'user',
                VOCABULARY,
                vocabulary='f1',
                length=HISTORY,
                history=True,
            )
        )
    return made_up_manifest(features, domains)


def make_batches(
    domains: int, mixed: bool, count: int = 32, exponent: float = 0.0
) -> list[dict[str, tf.Tensor]]:
    """Batches whose ids have the frequencies of words (Zipf).

    Args:
        domains: Number of domains.
        mixed: Whether a batch has rows of all domains.
        count: Number of batches.
        exponent: Exponent of Zipf's law, by which the domains' sizes fall; 0 for equal sizes.
    """
    sizes = 1 / np.arange(1, domains + 1) ** exponent
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(count):
        ids = np.minimum(rng.zipf(1.2, (FEATURES, BATCH)), VOCABULARY - 1).astype(np.int32)
        domain = 1 + rng.choice(domains, BATCH if mixed else None, p=sizes / sizes.sum())
        clicks = np.minimum(rng.zipf(1.2, (BATCH, HISTORY)), VOCABULARY - 1)
        there = np.arange(HISTORY) < rng.integers(0, HISTORY + 1, (BATCH, 1))
        batches.append(
            {
                **{f'f{i}': tf.constant(ids[i]) for i in range(FEATURES)},
                'history': tf.constant(np.where(there, clicks, -1), tf.int32),
                'domain': tf.constant(domain, tf.int32),
                'click': tf.constant(rng.integers(0, 2, BATCH), tf.float32),
            }
        )
    return batches


def model_config(name: str) -> ModelConfig:
    """Of a model, written as for `mdctr compare`."""
    return with_model(TrainConfig(), *parse_variant('--models', name), name).model


def make_step(name: str, domains: int) -> TrainStep:
    """A step of a model, with a history in its dataset if it needs one.

    Raises:
        UserError: The model cannot be built for this number of domains either way.
    """
    keras.utils.set_random_seed(1)
    config = model_config(name)
    try:
        model = build_model(make_manifest(domains), config)
    except UserError:
        model = build_model(make_manifest(domains, history=True), config)
    return TrainStep(model, make_optimizer('adam', 0.001))


def make_steps(names: list[str], domains: int) -> dict[str, TrainStep]:
    """The steps by model; says why one is left out."""
    steps = {}
    for name in names:
        try:
            steps[name] = make_step(name, domains)
        except UserError as error:
            print(f'left out: {name} ({domains} domain(s)): {error}')
    return steps


def matrix_product_rate(size: int = 1024) -> float:
    """Multiplications per second of one product of square matrices."""
    matrix = tf.ones([size, size])
    start = time.perf_counter()
    tf.matmul(matrix, matrix).numpy()
    return size**3 / (time.perf_counter() - start)


def speeds(
    names: list[str], domains: int, mixed: bool, rounds: int, exponent: float = 0.0
) -> dict[str, float]:
    """Examples per second by model, and under '' the rate of matrix products: medians of rounds
    in which the models take turns."""
    batches = make_batches(domains, mixed, exponent=exponent)
    steps = make_steps(names, domains)
    for step in steps.values():
        for batch in batches[:3]:
            step(batch)
    times: dict[str, list[float]] = {name: [] for name in steps}
    rates = []
    for turn in range(rounds):
        rates.append(matrix_product_rate())
        # Every other round goes backwards, so that no model always follows the same one.
        for name in steps if turn % 2 else reversed(steps):
            start = time.perf_counter()
            for i in range(STEPS_A_TURN):
                loss = steps[name](batches[(turn * STEPS_A_TURN + i) % len(batches)])
            loss.numpy()
            times[name].append(time.perf_counter() - start)
    return {'': statistics.median(rates)} | {
        name: STEPS_A_TURN * BATCH / statistics.median(taken) for name, taken in times.items()
    }


def write_dataset(directory: str, rows: int, domains: int) -> None:
    """A training split in the layout of `mdctr.manifest`, in one file."""
    rng = np.random.default_rng(0)
    ids = np.minimum(rng.zipf(1.2, (rows, FEATURES)), VOCABULARY - 1)
    domain = np.sort(np.arange(rows) % domains + 1)
    write_rows(directory, ids, domain, np.arange(rows) % 2, np.arange(rows))
    write_manifest(directory, make_manifest(domains))


def reader_speed(examples: Examples, kind: str) -> float:
    """Rows per second of a pass that only reads."""
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


def needs_history(name: str) -> bool:
    try:
        build_model(make_manifest(2), model_config(name))
    except UserError:
        return True
    return False


def print_models(names: list[str], rounds: int) -> float:
    """The table of models; returns mlp's examples per second."""
    columns = [
        ('1 domain', 1, False),
        ('20 domains', 20, False),
        ('60 domains', 60, False),
        ('20 mixed', 20, True),
    ]
    measured = [speeds(names, domains, mixed, rounds) for _, domains, mixed in columns]
    width = max(24, 1 + max(map(len, names)))
    titles = ''.join(f'{title:>20}' for title, _, _ in columns)
    print(f'{"examples/s (of mlp)":{width}}{titles}{"mult./row":>12}{"of rate":>9}')
    for name in names:
        cells = [
            f'{of[name]:,.0f} ({of[name] / of["mlp"]:.2f})' if name in of else '-'
            for of in measured
        ]
        star = '*' if name in measured[1] and needs_history(name) else ''
        print(f'{name + star:{width}}' + ''.join(f'{cell:>20}' for cell in cells), end='')
        if name not in measured[1]:
            print()
            continue
        products = multiplications(make_step(name, 20).model, make_batches(20, False, 1)[0])
        share = 3 * products / BATCH * measured[1][name] / measured[1]['']
        print(f'{products / BATCH:>12,.0f}{share:>9.2f}', flush=True)
    return measured[1]['mlp']


def print_many_domains(names: list[str], rounds: int) -> None:
    """The table of mixed batches of many domains."""
    columns = (('250 mixed', 250, 0.0), ('1,000 mixed, Zipf', 1000, 1.0))
    print(f'{"examples/s (of mlp)":24}' + ''.join(f'{title:>24}' for title, _, _ in columns))
    measured = [
        speeds(names, domains, True, rounds, exponent) for _, domains, exponent in columns
    ]
    for name in names:
        cells = [
            f'{of[name]:,.0f} ({of[name] / of["mlp"]:.3f})' if name in of else '-'
            for of in measured
        ]
        print(f'{name:24}' + ''.join(f'{cell:>24}' for cell in cells))


def print_reader(step_speed: float) -> None:
    """The table of the reader."""
    with tempfile.TemporaryDirectory() as directory:
        write_dataset(directory, READER_ROWS, 20)
        found: dict[str, list[float]] = {}
        for _ in range(READER_ROUNDS):
            streamed = Examples(open_dataset(directory), 'train', memory=READER_ROWS * 30)
            kept = Examples(open_dataset(directory), 'train')
            for title, examples, kind in (
                ('streamed', streamed, 'domain'),
                ('first epoch', kept, 'domain'),
                ('later epochs', kept, 'domain'),
                ('later epochs, mixed', kept, 'mixed'),
            ):
                found.setdefault(title, []).append(reader_speed(examples, kind))
        print(f'\n{"input":24}{"examples/s":>20}{"of mlp step":>20}')
        for title, speed_of in found.items():
            speed = statistics.median(speed_of)
            print(f'{title:24}{speed:>20,.0f}{speed / step_speed:>20.1f}')
        step = make_step('mlp', 20)
        next_batch = next(prefetch(kept.epoch(0, BATCH)))
        step(next_batch)
        for title, examples in (('streamed', streamed), ('later epochs', kept)):
            print(
                f'share of mlp training that waits for input, {title}: '
                f'{waiting_share(step, examples):.1%}'
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--models',
        default=' '.join(MODELS),
        help='as for mdctr compare; mlp must be among them',
    )
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument(
        '--many-domains', action='store_true', help='mixed batches of 250 and 1,000 domains'
    )
    arguments = parser.parse_args()
    config = TrainConfig()
    print(
        f'CPU of {len(tf.config.list_logical_devices("CPU"))} device, '
        f'GPU {[gpu.name for gpu in tf.config.list_physical_devices("GPU")]}, '
        f'optimizer {config.optimizer}'
    )
    if arguments.many_domains:
        print_many_domains(arguments.models.split(), arguments.rounds)
        return
    print_reader(print_models(arguments.models.split(), arguments.rounds))


if __name__ == '__main__':
    main()

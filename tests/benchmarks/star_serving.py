"""Compares the serving cost of STAR's exported model with `shared_bottom`'s (STAR 4.4).

    python -m tests.benchmarks.star_serving [--rounds 15] [--domains 20]

256-128-64, 16 features embedded in 16 dimensions, each exported with its weights folded and
loaded again, called as a server calls it: ids, with a domain for every row. `star` is complete,
with partitioned normalization and the auxiliary network, which `shared_bottom` lacks; `star
alone` is the star network with `shared_bottom`'s normalization, and `shared_bottom + aux` has
the other parts of `star`. Processor time on one thread; the models take turns, and figures are
medians over the rounds of the ratio to `shared_bottom`. The target is 1.05 at most.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np

from tests.benchmarks.train_step import FEATURES, VOCABULARY, make_manifest
from trainer.config import ModelConfig
from trainer.export.preprocessing import encoded_signature
from trainer.keras import keras, tf
from trainer.models import build_model
from trainer.models.base import CTRModel
from trainer.models.probability import probability

BATCHES = (1, 32, 256, 2048)
ROWS_A_TURN = 8192  # at most; and calls:
CALLS_A_TURN = 200
MODELS = {
    'shared_bottom': ModelConfig(name='shared_bottom'),
    'star': ModelConfig(name='star'),
    'star alone': ModelConfig(name='star', normalization='bn', auxiliary_network=False),
    'shared_bottom + aux': ModelConfig(
        name='shared_bottom', normalization='pn', auxiliary_network=True
    ),
}


def served(config: ModelConfig, domains: int) -> Callable:
    """The signature `encoded` of an exported model."""
    keras.utils.set_random_seed(1)
    model = build_model(make_manifest(domains), config)
    _learn(model)
    before = model(requests(domains, 64, mixed=True), training=False).numpy()
    module = tf.Module()
    model.fold()
    encoded = tf.function(
        lambda ids: {'score': probability(model(ids, training=False), 1.0)},
        autograph=False,
        input_signature=[encoded_signature(model.features)],
    ).get_concrete_function()
    module.weights = [*encoded.variables]
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, signatures={'encoded': encoded})
        module = tf.saved_model.load(directory)
    scores = module.signatures['encoded'](**requests(domains, 64, mixed=True))['score']
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-before)), atol=1e-5)
    call = module.signatures['encoded']
    call.keep = module
    return call


def _learn(model: CTRModel) -> None:
    """Gives each domain weights of its own, as training would."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.02, size=variable.shape))


def requests(domains: int, rows: int, mixed: bool) -> dict[str, tf.Tensor]:
    """A request's ids."""
    rng = np.random.default_rng(rows)
    ids = {
        f'f{i}': tf.constant(np.minimum(rng.zipf(1.2, rows), VOCABULARY - 1))
        for i in range(FEATURES)
    }
    domain = rng.integers(1, domains + 1, rows) if mixed else np.full(rows, 3)
    return {**ids, 'domain': tf.constant(domain)}


def turn(call: Callable, request: dict[str, tf.Tensor], rows: int) -> float:
    """Processor seconds per call."""
    calls = max(4, min(CALLS_A_TURN, ROWS_A_TURN // rows))
    start = time.process_time()
    for _ in range(calls):
        call(**request)['score'].numpy()
    return (time.process_time() - start) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--domains', type=int, default=20)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    calls = {name: served(config, arguments.domains) for name, config in MODELS.items()}
    for mixed in (False, True):
        title = (
            f'requests of {arguments.domains} domains' if mixed else 'requests of one domain'
        )
        print(f'{title:32}' + ''.join(f'{f"batch {rows}":>20}' for rows in BATCHES))
        costs = {name: [] for name in calls}
        for rows in BATCHES:
            request = requests(arguments.domains, rows, mixed)
            times: dict[str, list[float]] = {name: [] for name in calls}
            for number in range(arguments.rounds + 1):
                for name in calls if number % 2 else reversed(calls):
                    taken = turn(calls[name], request, rows)
                    if number:  # the first warms up
                        times[name].append(taken)
            first = times['shared_bottom']
            for name, taken in times.items():
                ratio = statistics.median(
                    mine / theirs for mine, theirs in zip(taken, first, strict=True)
                )
                costs[name].append(f'{min(taken) * 1e6:,.0f} us ({ratio:.2f})')
        for name, cells in costs.items():
            print(f'  {name:30}' + ''.join(f'{cell:>20}' for cell in cells), flush=True)


if __name__ == '__main__':
    main()

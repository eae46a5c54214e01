"""Compares the cost of a training step of CTNet with one of its target tower alone.

    python -m tests.benchmarks.ctnet [--batch 2048] [--rounds 9]

Both towers have the same architecture. A figure is the processor seconds of a step (one
thread), the least of several rounds in which the models take turns. Sixteen features of ten
thousand values, embedded in 16 dimensions, and a history of 50 clicks; Adam. `kept` is a step
of a later epoch, which reuses the outputs of the source tower from the first epoch.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from mdctr.manifest import Domain, Feature, Manifest, Rows
from trainer.config import ModelConfig
from trainer.keras import keras, tf
from trainer.loop.step import TrainStep
from trainer.models import build_model
from trainer.optimizers.row_wise import make_optimizer

FEATURES, VOCABULARY, HISTORY = 16, 10_000, 50
STEPS_A_TURN, BATCHES = 3, 6
BOUND = 1.6


def make_manifest() -> Manifest:
    """An item, its category, fourteen more features and the clicked items."""
    features = [
        Feature('item_id', 'categorical', 'item', VOCABULARY, vocabulary='item_id'),
        Feature('category', 'categorical', 'item', 100, vocabulary='category'),
        *(
            Feature(f'f{i}', 'categorical', 'user', VOCABULARY, vocabulary=f'f{i}')
            for i in range(FEATURES - 2)
        ),
        Feature(
            'history',
            'sequence',
            'user',
            VOCABULARY,
            vocabulary='item_id',
            length=HISTORY,
            history=True,
        ),
    ]
    return Manifest(
        'benchmark',
        'none',
        features,
        [Domain(1, 'a'), Domain(2, 'b')],
        {},
        Rows(0, 0, 0, 0, 0, 0, 0),
    )


def make_batches(rows: int) -> list[dict[str, tf.Tensor]]:
    """Batches of one domain whose ids have the frequencies of words (Zipf)."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(BATCHES):
        batch = {
            feature.name: np.minimum(
                rng.zipf(1.2, (rows, HISTORY) if feature.kind == 'sequence' else rows),
                feature.size - 1,
            ).astype(np.int32)
            for feature in make_manifest().features
        }
        lengths = rng.integers(0, HISTORY + 1, (rows, 1))
        batch['history'] = np.where(np.arange(HISTORY) < lengths, batch['history'], -1)
        made.append(
            {
                name: tf.constant(values, tf.int32)
                for name, values in {**batch, 'domain': np.int32(2)}.items()
            }
            | {'click': tf.constant(rng.integers(0, 2, rows), tf.float32)}
        )
    return made


def make_steps(tower: str, hidden_units: list[int]) -> dict[str, TrainStep]:
    """The steps of the target tower alone and of the models compared with it."""
    manifest, config = make_manifest(), ModelConfig(name=tower, hidden_units=hidden_units)
    variants = {'linear adapters': {'adapter': 'linear'}, 'ctnet': {}}
    if tower != 'mlp':
        variants['ctnet, shared attention'] = {'share_attention': True}
    keras.utils.set_random_seed(1)
    models = {tower: build_model(manifest, config)}
    for name, options in variants.items():
        models[name] = build_model(
            manifest,
            ModelConfig(
                name='ctnet',
                hidden_units=hidden_units,
                options={'target_tower': tower, **options},
            ),
            build_model(manifest, config),
        )
    kept = {
        f'{name}, kept': build_model(manifest, model.config, model.source)
        for name, model in models.items()
        if name.startswith('ctnet')
    }
    for model in kept.values():
        model.remember()
    return {
        name: TrainStep(model, make_optimizer('adam', 0.001))
        for name, model in {**models, **kept}.items()
    }


def seconds_a_step(
    steps: dict[str, TrainStep], batches: list[dict[str, tf.Tensor]], rounds: int
) -> dict[str, float]:
    """Processor seconds per step, by name."""
    for step in steps.values():
        for batch in batches:
            step(batch)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds):
        for name in list(steps)[:: 1 if turn % 2 else -1]:
            start = time.process_time()
            for i in range(STEPS_A_TURN):
                loss = steps[name](batches[(turn * STEPS_A_TURN + i) % len(batches)])
            loss.numpy()
            taken[name].append((time.process_time() - start) / STEPS_A_TURN)
    return {name: min(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=2048)
    parser.add_argument('--rounds', type=int, default=9)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    batches = make_batches(arguments.batch)
    for tower in ('taobao_base', 'mlp'):
        for hidden_units in ([256, 128, 64], [1024, 512, 256]):
            found = seconds_a_step(make_steps(tower, hidden_units), batches, arguments.rounds)
            print(f'\n{tower}, {hidden_units}, batches of {arguments.batch}')
            for name, seconds in found.items():
                ratio = seconds / found[tower]
                print(
                    f'{name:32}{seconds * 1e3:10.1f} ms{ratio:8.2f}'
                    + (f'   (at most {BOUND})' if name.startswith('ctnet') else '')
                )


if __name__ == '__main__':
    main()

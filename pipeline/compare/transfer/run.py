"""Trains every method of a comparison over periods, and scores the days after them."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from beam_jobs.dataset import read_manifest
from components.continual.config import ContinualConfig
from pipeline.compare.files import file_name, read_json, write_json
from pipeline.compare.run import processes, told
from pipeline.compare.transfer.recipes import Recipe, recipe_of
from pipeline.compare.transfer.walk import Stage, Walk


@dataclass(frozen=True)
class TransferResult:
    """A method's figures for one target and seed.

    Attributes:
        method: its name.
        target: the target's domain.
        seed: of every training.
        days: metrics (`auc`, `gauc`, `log_loss`, `pcoc`, ...) of the day after each period for
            which the method has a model, by that day.
        groups: metrics of new and old users and items on the last of these days (Table 5).
        seconds: of training every model on the way to the last one, the source's not among
            them, which the pipeline trains anyhow.
        parameters: trained numbers of the last model.
    """

    method: str
    target: str
    seed: int
    days: dict[str, dict[str, Any]]
    groups: dict[str, dict[str, Any]]
    seconds: float
    parameters: int


def compare_transfer(dataset: str, directory: str, continual: ContinualConfig,
                     recipes: Sequence[Recipe], seeds: Sequence[int], jobs: int = 1
                     ) -> tuple[list[TransferResult], list[str]]:
    """Trains and scores each method for each target with each seed.

    What is finished is read back, and what was cut goes on; a method that fails is noted and
    leaves the others alone. Models are kept until every method of their seed is finished.

    Args:
        dataset: a dataset with a split for each day.
        directory: of the comparison.
        continual: source, targets, periods and settings.
        recipes: what is compared.
        seeds: of the runs.
        jobs: seeds at once, each a process with its share of the processor's cores.

    Returns:
        The finished results, and a sentence for each that failed.

    Raises:
        UserError: no dataset is there.
    """
    read_manifest(dataset)  # without a dataset, one sentence and not one for each run
    # Recipes are made of functions of their own, which go to no other process: names do.
    names = [recipe.name for recipe in recipes]
    if jobs == 1:
        walked = [walk_seed(dataset, directory, continual, names, seed) for seed in seeds]
    else:
        with processes(jobs) as pool:
            futures = [pool.submit(walk_seed, dataset, directory, continual, names, seed)
                       for seed in seeds]
            walked = [future.result() for future in futures]
    return ([result for results, _ in walked for result in results],
            [failure for _, failures in walked for failure in failures])


def walk_seed(dataset: str, directory: str, continual: ContinualConfig, names: Sequence[str],
              seed: int) -> tuple[list[TransferResult], list[str]]:
    """All methods with one seed; as `compare_transfer`."""
    results, failures = [], []
    models = os.path.join(directory, f'seed-{seed}')
    walk = Walk(dataset, models, continual, seed)
    for recipe in map(recipe_of, names):
        print(f'{recipe.name}, seed {seed}', flush=True)
        for target in continual.target_domains:
            try:
                results.append(_one(walk, directory, recipe, target))
            except Exception as error:  # one failed method must not lose the others
                failures.append(f'{recipe.name} for {target}, seed {seed}: {told(error)}')
                print(f'  failed: {failures[-1]}', flush=True)
    if not failures:
        shutil.rmtree(models, ignore_errors=True)
    return results, failures


def _one(walk: Walk, directory: str, recipe: Recipe, target: str) -> TransferResult:
    from beam_jobs.options import to_mapping
    from trainer.keras import keras

    path = os.path.join(directory, 'results', file_name(recipe.name),
                        f'{file_name(target)}-{walk.seed}.json')
    key = {'dataset': read_manifest(walk.dataset).fingerprint,
           'continual': to_mapping(walk.continual)}
    finished = read_json(path)
    if finished is not None and finished['key'] == key:
        return TransferResult(**finished['result'])
    keras.backend.clear_session()
    result = _scored(walk, recipe, target)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_json(path, {'key': key, 'result': asdict(result)})
    return result


def _scored(walk: Walk, recipe: Recipe, target: str) -> TransferResult:
    from beam_jobs.cold_start import cold_start_metrics
    from beam_jobs.exported import read_model_json
    from beam_jobs.metrics import domain_metrics
    from pipeline.compare.score import score_split
    from trainer.seen import seen_ids

    days, groups = {}, {}
    stages = recipe.stages(walk, target)
    manifest = read_manifest(walk.dataset)
    for number, chain in stages.items():
        period = walk.periods[number - 1]
        if not manifest.splits[period.evaluated_on.split].examples.get(target):
            continue
        scores = score_split(walk.dataset, period.evaluated_on.split, chain[-1].export,
                             domains=[target])
        weights = manifest.row_weights(scores.click)
        metrics = domain_metrics(scores.domain, scores.user_key, scores.click, scores.score,
                                 {int(scores.domain[0]): target}, weights)
        days[period.evaluated_on.day] = metrics['overall']
        if number == max(stages):
            # New and old to the target: whom the source knows is what is to be transferred.
            old = seen_ids(walk.dataset, walk.splits(1, number), ['user_id', 'item_id'],
                           domains=[target])
            groups = cold_start_metrics(scores.user_id, scores.item_id, scores.user_key,
                                        scores.click, scores.score, old['user_id'],
                                        old['item_id'], weights)
    last: list[Stage] = stages[max(stages)]
    return TransferResult(
        recipe.name, target, walk.seed, days, groups, sum(stage.seconds for stage in last),
        read_model_json(last[-1].export)['parameters'])

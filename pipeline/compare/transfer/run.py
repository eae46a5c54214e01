"""Trains every transfer method and scores it on the day after each period."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from components.continual.config import ContinualConfig
from mdctr import storage
from mdctr.dataset import Dataset
from pipeline.compare.files import file_name, read_json
from pipeline.compare.run import first_line, process_pool
from pipeline.compare.transfer.methods import TransferMethod, parse_transfer_method
from pipeline.compare.transfer.models import TransferModels

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TransferResult:
    """The result of a method for one target and seed.

    Attributes:
        method: Name of the method.
        target: Name of the target domain.
        seed: Random seed of all trainings.
        days: Metrics (`auc`, `gauc`, `log_loss`, `pcoc`, ...) of the day after each period at
            whose end the method has a model, by day.
        groups: Metrics of new and old users and items on the last of these days (Table 5).
        seconds: Training time in seconds of the last model and of all models that it
            continues; without the source model, which is trained in any case.
        parameters: Number of trainable parameters of the last model.
    """

    method: str
    target: str
    seed: int
    days: dict[str, dict[str, Any]]
    groups: dict[str, dict[str, Any]]
    seconds: float
    parameters: int


def compare_transfer(
    dataset: Dataset,
    directory: str,
    continual: ContinualConfig,
    methods: Sequence[TransferMethod],
    seeds: Sequence[int],
    jobs: int = 1,
) -> tuple[list[TransferResult], list[str]]:
    """Trains and scores each method for each target with each seed.

    Finished results are read back, an interrupted training resumes, and a method that fails
    does not stop the others. Models are kept until every method of their seed has finished.

    Args:
        dataset: Dataset with a split for each day.
        directory: Directory of the comparison.
        continual: Source, targets, periods and training settings.
        methods: Methods to compare.
        seeds: Random seeds.
        jobs: Number of seeds at the same time, each a process with its share of the cores.

    Returns:
        The results, and an error message for each method that failed.
    """
    # A method holds nested functions, which cannot be pickled: other processes get its name.
    names = [method.name for method in methods]
    if jobs == 1:
        finished = [run_seed(dataset, directory, continual, names, seed) for seed in seeds]
    else:
        with process_pool(jobs) as pool:
            futures = [
                pool.submit(run_seed, dataset, directory, continual, names, seed)
                for seed in seeds
            ]
            finished = [future.result() for future in futures]
    return (
        [result for results, _ in finished for result in results],
        [failure for _, failures in finished for failure in failures],
    )


def run_seed(
    dataset: Dataset,
    directory: str,
    continual: ContinualConfig,
    names: Sequence[str],
    seed: int,
) -> tuple[list[TransferResult], list[str]]:
    """Trains and scores the methods of the given names with one seed (`compare_transfer`)."""
    results, failures = [], []
    models_directory = storage.join(directory, f'seed-{seed}')
    models = TransferModels(dataset, models_directory, continual, seed)
    for method in map(parse_transfer_method, names):
        logger.info('%s, seed %d', method.name, seed)
        for target in continual.target_domains:
            try:
                with storage.reporting_errors(directory):
                    results.append(_load_or_run(models, directory, method, target))
            except Exception as error:  # a failed method must not lose the others
                failures.append(f'{method.name} for {target}, seed {seed}: {first_line(error)}')
                logger.error('Failed: %s', failures[-1])
    if not failures:
        storage.remove_directory(models_directory)
    return results, failures


def _load_or_run(
    models: TransferModels, directory: str, method: TransferMethod, target: str
) -> TransferResult:
    """Reads the result of a finished method; otherwise runs it and writes the result."""
    from mdctr.settings import to_mapping
    from trainer.keras import keras

    path = storage.join(
        directory, 'results', file_name(method.name), f'{file_name(target)}-{models.seed}.json'
    )
    key = {
        'dataset': models.dataset.manifest.fingerprint,
        'continual': to_mapping(models.continual),
    }
    finished = read_json(path)
    if finished is not None and finished['key'] == key:
        return TransferResult(**finished['result'])
    keras.backend.clear_session()
    result = _run(models, method, target)
    storage.write_json(path, {'key': key, 'result': asdict(result)})
    return result


def _run(models: TransferModels, method: TransferMethod, target: str) -> TransferResult:
    from beam_jobs.evaluation.cold_start import cold_start_metrics
    from mdctr.exported_model import read_model_json
    from mdctr.metrics import domain_metrics
    from pipeline.compare.score import score_split
    from trainer.data.seen_ids import seen_ids

    days, groups = {}, {}
    trained_by_period = method.train_models(models, target)
    last_period = max(trained_by_period)
    manifest = models.dataset.manifest
    for number, trained in trained_by_period.items():
        evaluation_day = models.periods[number - 1].evaluated_on
        if not manifest.splits[evaluation_day.split].examples.get(target):
            continue
        scores = score_split(
            models.dataset, evaluation_day.split, trained[-1].export, domains=[target]
        )
        weights = manifest.row_weights(scores.click)
        metrics = domain_metrics(
            scores.domain,
            scores.user_key,
            scores.click,
            scores.score,
            {int(scores.domain[0]): target},
            weights,
        )
        days[evaluation_day.day] = metrics['overall']
        if number == last_period:
            # New and old in the target domain: what the source knows of them is transferred.
            seen = seen_ids(
                models.dataset,
                models.splits(1, number),
                ['user_id', 'item_id'],
                domains=[target],
            )
            groups = cold_start_metrics(
                scores.user_id,
                scores.item_id,
                scores.user_key,
                scores.click,
                scores.score,
                seen['user_id'],
                seen['item_id'],
                weights,
            )
    trained = trained_by_period[last_period]
    return TransferResult(
        method.name,
        target,
        models.seed,
        days,
        groups,
        sum(model.seconds for model in trained),
        read_model_json(trained[-1].export)['parameters'],
    )

"""Trains and scores every method of a comparison with every seed, and resumes a comparison."""

import dataclasses
import functools
import gc
import importlib
import logging
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

from mdctr import storage
from mdctr.child_process import end_with_parent
from mdctr.console import quiet_libraries
from mdctr.dataset import Dataset
from mdctr.manifest import Manifest
from pipeline.compare.files import file_name, read_json
from pipeline.compare.methods import REFERENCES, Method
from pipeline.compare.score import Scores, score_split
from pipeline.compare.table import RunResult, domain_bins
from trainer.config import TrainConfig

logger = logging.getLogger(__name__)


def compare(
    dataset: Dataset,
    directory: str,
    methods: Sequence[Method],
    seeds: Sequence[int],
    split: str = 'test',
    jobs: int = 1,
) -> tuple[list[RunResult], list[str]]:
    """Trains and scores each method with each seed.

    All methods run with one seed before the next seed begins, so that paired results are
    available early. A finished run is read back, an interrupted one resumes from its
    checkpoint, and a run that fails does not stop the others.

    Args:
        dataset: Dataset to train on.
        directory: Directory of the comparison, in which the result of each run is kept.
        methods: Methods to compare.
        seeds: Random seeds of the runs.
        split: Name of the split that is scored after training.
        jobs: Number of runs at the same time, each a process with its share of the cores.

    Returns:
        The finished runs, and an error message for each run that failed.
    """
    tasks = [(method, seed) for seed in seeds for method in methods]
    results: list[RunResult] = []
    failures: list[str] = []

    def collect(finish: Callable[[], RunResult], method: Method, seed: int) -> None:
        try:
            with storage.reporting_errors(directory):
                results.append(finish())
        except Exception as error:  # a failed run must not lose the others
            failures.append(f'{method.name}, seed {seed}: {first_line(error)}')
            logger.error('Failed: %s', failures[-1])

    calls = [
        functools.partial(
            _load_or_run,
            dataset,
            directory,
            method,
            seed,
            split,
            f'[{number}/{len(tasks)}] {method.name}, seed {seed}',
        )
        for number, (method, seed) in enumerate(tasks, 1)
    ]
    if jobs == 1:
        for call, task in zip(calls, tasks, strict=True):
            collect(call, *task)
        return results, failures
    with process_pool(jobs) as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            for future, task in zip(futures, tasks, strict=True):
                collect(future.result, *task)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results, failures


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type if it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def process_pool(jobs: int) -> ProcessPoolExecutor:
    """A pool of `jobs` processes, each with an equal share of the cores.

    Runs that all used all cores would slow each other down. The processes end with this one,
    however it ends; the next comparison resumes what they did.
    """
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    for name in ('TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS', 'OMP_NUM_THREADS'):
        os.environ.setdefault(name, threads)
    return ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context('spawn'), initializer=_begin_process
    )


def _begin_process() -> None:
    end_with_parent()
    quiet_libraries()


def _load_or_run(
    dataset: Dataset, directory: str, method: Method, seed: int, split: str, label: str
) -> RunResult:
    """Reads the result of a finished run; otherwise runs, and writes the result."""
    from mdctr.settings import to_mapping

    train = method.train.replace(seed=seed)
    settings = (
        {'train': to_mapping(train)}
        if method.reference is None
        else {'reference': method.reference, 'seed': seed}
    )
    key = {'dataset': dataset.manifest.fingerprint, 'split': split, **settings}
    path = storage.join(directory, file_name(method.name), f'seed-{seed}')
    finished = read_json(storage.join(path, 'result.json'))
    if finished is not None and finished['key'] == key:
        logger.info('%s: already finished', label)
        return RunResult(**finished['result'])
    if read_json(storage.join(path, 'key.json')) != key and storage.exists(path):
        storage.remove_directory(path)  # a run on other data or with other settings
    storage.write_json(storage.join(path, 'key.json'), key)
    logger.info('%s', label)
    result = _run(dataset, path, method, train, split)
    storage.write_json(
        storage.join(path, 'result.json'), {'key': key, 'result': dataclasses.asdict(result)}
    )
    storage.remove_directory(storage.join(path, 'run'))  # only the metrics are needed
    return result


def _run(
    dataset: Dataset, path: str, method: Method, train: TrainConfig, split: str
) -> RunResult:
    from mdctr.metrics import domain_metrics

    parameters: int | None = None
    if method.reference is None:
        scores, seconds, parameters = _train_and_score(dataset, path, train, split)
    else:
        start = time.monotonic()
        module, function = REFERENCES[method.reference].split(':')
        scores = getattr(importlib.import_module(module), function)(dataset, split, train.seed)
        seconds = time.monotonic() - start
    names = _domain_names(dataset.manifest)
    metrics = domain_metrics(
        scores.domain,
        scores.user_key,
        scores.click,
        scores.score,
        names,
        dataset.manifest.row_weights(scores.click),
    )
    impressions = {name: values['impressions'] for name, values in metrics['domains'].items()}
    bins = _auc_by_bin(scores, names, impressions)
    return RunResult(method.name, train.seed, metrics, bins, seconds, parameters)


def _domain_names(manifest: Manifest) -> dict[int, str]:
    return {0: 'unseen', **{domain.id: domain.name for domain in manifest.domains}}


def _auc_by_bin(
    scores: Scores, names: dict[int, str], impressions: dict[str, int]
) -> list[float | None]:
    """The AUC of the rows of each bin of domains (`domain_bins`)."""
    import numpy as np

    from mdctr.metrics import auc

    ids = {name: number for number, name in names.items()}
    bins = []
    for domains in domain_bins(impressions):
        rows = np.isin(scores.domain, [ids[name] for name in domains])
        bins.append(auc(scores.click[rows], scores.score[rows]))
    return bins


def _train_and_score(
    dataset: Dataset, path: str, train: TrainConfig, split: str
) -> tuple[Scores, float, int]:
    """The scores of a model, the seconds of its training, and its number of parameters."""
    from mdctr.exported_model import read_model_json
    from trainer.keras import keras
    from trainer.train import train as train_model

    keras.backend.clear_session()
    gc.collect()  # models of earlier runs and their graphs are in reference cycles
    start = time.monotonic()
    export = train_model(dataset, storage.join(path, 'run'), train)
    seconds = time.monotonic() - start
    parameters: int = read_model_json(export)['parameters']
    return score_split(dataset, split, export), seconds, parameters

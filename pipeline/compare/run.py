"""Trains every method of a comparison with every seed, and goes on where it stopped."""

import dataclasses
import gc
import importlib
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor

from beam_jobs.dataset import read_manifest
from components.steps import quiet_libraries
from pipeline.compare.files import file_name, read_json, write_json
from pipeline.compare.methods import REFERENCES, Method
from pipeline.compare.score import Scores, score_split
from pipeline.compare.table import Result, domain_bins
from trainer.config import TrainConfig


def compare(dataset: str, directory: str, methods: Sequence[Method], seeds: Sequence[int],
            split: str = 'test', jobs: int = 1) -> tuple[list[Result], list[str]]:
    """Trains and scores each method with each seed.

    The runs of one seed are done before the next seed begins, so that methods are paired
    early; a run that is finished is read back, one that was cut goes on from its checkpoint,
    and one that fails is noted and leaves the others alone.

    Args:
        dataset: the dataset's directory.
        directory: of the comparison; a run's results are kept in it.
        methods: what is compared.
        seeds: of the runs.
        split: that is scored, once a run's training has ended.
        jobs: runs at once, each a process with its share of the processor's cores.

    Returns:
        The finished runs, and a sentence for each that failed.

    Raises:
        UserError: no dataset is there.
    """
    read_manifest(dataset)  # without it, one sentence and not one for each run
    tasks = [(method, seed) for seed in seeds for method in methods]
    labels = [f'[{number}/{len(tasks)}] {method.name}, seed {seed}'
              for number, (method, seed) in enumerate(tasks, 1)]
    results: list[Result] = []
    failures: list[str] = []

    def collect(finish: Callable[[], Result], method: Method, seed: int, label: str) -> None:
        try:
            results.append(finish())
        except Exception as error:  # one failed run must not lose the others
            failures.append(f'{method.name}, seed {seed}: {told(error)}')
            print(f'{label}: failed: {failures[-1]}', flush=True)

    if jobs == 1:
        for (method, seed), label in zip(tasks, labels, strict=True):
            collect(lambda: _one(dataset, directory, method, seed, split, label),  # noqa: B023
                    method, seed, label)
        return results, failures
    with processes(jobs) as pool:
        futures = [pool.submit(_one, dataset, directory, method, seed, split, label)
                   for (method, seed), label in zip(tasks, labels, strict=True)]
        try:
            for future, (method, seed), label in zip(futures, tasks, labels, strict=True):
                collect(future.result, method, seed, label)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results, failures


def told(error: Exception) -> str:
    """The first line of what an error says, or its type."""
    sentence = str(error).strip().splitlines()
    return sentence[0] if sentence else type(error).__name__


def processes(jobs: int) -> ProcessPoolExecutor:
    """Processes that divide the cores: runs side by side on all cores each hinder the other."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    for name in ('TF_NUM_INTRAOP_THREADS', 'TF_NUM_INTEROP_THREADS', 'OMP_NUM_THREADS'):
        os.environ.setdefault(name, threads)
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context('spawn'),
                               initializer=quiet_libraries)


def _one(dataset: str, directory: str, method: Method, seed: int, split: str,
         label: str) -> Result:
    from beam_jobs.options import to_mapping

    train = dataclasses.replace(method.train, seed=seed)
    what = ({'train': to_mapping(train)} if method.reference is None else
            {'reference': method.reference, 'seed': seed})
    key = {'dataset': read_manifest(dataset).fingerprint, 'split': split, **what}
    path = os.path.join(directory, file_name(method.name), f'seed-{seed}')
    finished = read_json(os.path.join(path, 'result.json'))
    if finished is not None and finished['key'] == key:
        print(f'{label}: done before', flush=True)
        return Result(**finished['result'])
    if read_json(os.path.join(path, 'key.json')) != key and os.path.exists(path):
        shutil.rmtree(path)  # of other data or other settings
    os.makedirs(path, exist_ok=True)
    write_json(os.path.join(path, 'key.json'), key)
    print(label, flush=True)
    result = _train_and_score(dataset, path, method, train, split)
    write_json(os.path.join(path, 'result.json'),
           {'key': key, 'result': dataclasses.asdict(result)})
    shutil.rmtree(os.path.join(path, 'run'), ignore_errors=True)  # the figures are compared
    return result


def _train_and_score(dataset: str, path: str, method: Method, train: TrainConfig,
                     split: str) -> Result:
    import numpy as np

    from beam_jobs.metrics import auc, domain_metrics

    if method.reference is None:
        scores, seconds, parameters = _scores_of_model(dataset, path, train, split)
    else:
        start, parameters = time.monotonic(), None
        module, function = REFERENCES[method.reference].split(':')
        scores = getattr(importlib.import_module(module), function)(dataset, split, train.seed)
        seconds = time.monotonic() - start
    manifest = read_manifest(dataset)
    names = {0: 'unseen', **{domain.id: domain.name for domain in manifest.domains}}
    metrics = domain_metrics(scores.domain, scores.user_key, scores.click, scores.score, names,
                             manifest.row_weights(scores.click))
    ids = {domain_name: number for number, domain_name in names.items()}
    bins: list[float | None] = []
    for domains in domain_bins({domain_name: of['impressions']
                                for domain_name, of in metrics['domains'].items()}):
        chosen = np.isin(scores.domain, [ids[domain_name] for domain_name in domains])
        bins.append(auc(scores.click[chosen], scores.score[chosen]))
    return Result(method.name, train.seed, metrics, bins, seconds, parameters)


def _scores_of_model(dataset: str, path: str, train: TrainConfig,
                     split: str) -> tuple[Scores, float, int]:
    """The scores, the seconds of training and the number of parameters."""
    from beam_jobs.exported import read_model_json
    from trainer.keras import keras
    from trainer.train import train as train_model

    keras.backend.clear_session()
    gc.collect()  # models of the runs before and their graphs refer to each other
    start = time.monotonic()
    export = train_model(dataset, os.path.join(path, 'run'), train)
    seconds = time.monotonic() - start
    parameters = read_model_json(export)['parameters']
    return score_split(dataset, split, export), seconds, parameters

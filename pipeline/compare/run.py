"""Trains every method of a comparison with every seed, and goes on where it stopped."""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from beam_jobs.errors import UserError
from pipeline.compare.table import Result, domain_bins
from trainer.config import TrainConfig


@dataclass(frozen=True)
class Method:
    """What is compared: an architecture under a learning framework.

    Attributes:
        name: in the tables.
        train: the settings, of which the seed is replaced run by run.
    """

    name: str
    train: TrainConfig


def methods_of(train: TrainConfig, models: Sequence[str],
               frameworks: Sequence[str]) -> list[Method]:
    """Every model under every framework.

    A model is a name of the registry, with options after a colon where several variants of
    one are compared: `star:normalization=bn,auxiliary=false` changes the `model` section and
    any other key its `options`.

    Raises:
        UserError: a change that the settings do not have.
    """
    methods = []
    for model in models:
        for framework in frameworks:
            settings = _with_model(train, model)
            settings = dataclasses.replace(settings, framework=framework, framework_options=(
                train.framework_options if framework == train.framework else {}))
            name = model if len(frameworks) == 1 else f'{model} + {framework}'
            methods.append(Method(name, settings))
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise UserError('A method occurs twice in --models and --frameworks: name each once.')
    return methods


def _with_model(train: TrainConfig, model: str) -> TrainConfig:
    import yaml

    from beam_jobs.options import from_mapping, to_mapping

    name, _, changes = model.partition(':')
    values = to_mapping(train)
    values['model']['name'] = name
    if name != train.model.name:
        values['model']['options'] = {}
    for change in filter(None, changes.split(',')):
        key, equals, text = change.partition('=')
        if not equals:
            raise UserError(f'--models {model}: write changes as name:key=value,key=value.')
        section = values['model'] if key in values['model'] else values['model']['options']
        section[key] = yaml.safe_load(text)
    return from_mapping(TrainConfig, values, f'--models {model}')


def compare(dataset: str, directory: str, methods: Sequence[Method], seeds: Sequence[int],
            split: str = 'test') -> tuple[list[Result], list[str]]:
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

    Returns:
        The finished runs, and a sentence for each that failed.
    """
    results, failures = [], []
    total = len(seeds) * len(methods)
    done = 0
    for seed in seeds:
        for method in methods:
            done += 1
            label = f'[{done}/{total}] {method.name}, seed {seed}'
            try:
                results.append(_one(dataset, directory, method, seed, split, label))
            except Exception as error:  # one failed run must not lose the others
                sentence = str(error).strip().splitlines()
                failures.append(f'{method.name}, seed {seed}: '
                                f'{sentence[0] if sentence else type(error).__name__}')
                print(f'{label}: failed: {failures[-1]}', flush=True)
    return results, failures


def _one(dataset: str, directory: str, method: Method, seed: int, split: str,
         label: str) -> Result:
    from beam_jobs.dataset import read_manifest
    from beam_jobs.options import to_mapping

    train = dataclasses.replace(method.train, seed=seed)
    key = {'dataset': read_manifest(dataset).fingerprint, 'train': to_mapping(train),
           'split': split}
    path = os.path.join(directory, _file_name(method.name), f'seed-{seed}')
    finished = _read(os.path.join(path, 'result.json'))
    if finished is not None and finished['key'] == key:
        print(f'{label}: done before', flush=True)
        return Result(**finished['result'])
    if _read(os.path.join(path, 'key.json')) != key and os.path.exists(path):
        shutil.rmtree(path)  # of other data or other settings
    os.makedirs(path, exist_ok=True)
    _write(os.path.join(path, 'key.json'), key)
    print(label, flush=True)
    result = _train_and_score(dataset, path, method.name, train, split)
    _write(os.path.join(path, 'result.json'),
           {'key': key, 'result': dataclasses.asdict(result)})
    shutil.rmtree(os.path.join(path, 'run'))  # what is compared is the figures
    return result


def _train_and_score(dataset: str, path: str, name: str, train: TrainConfig,
                     split: str) -> Result:
    import numpy as np

    from beam_jobs.dataset import read_manifest
    from beam_jobs.metrics import auc, domain_metrics
    from pipeline.compare.score import score_split
    from trainer.keras import keras
    from trainer.train import train as train_model

    keras.backend.clear_session()
    start = time.monotonic()
    export = train_model(dataset, os.path.join(path, 'run'), train)
    seconds = time.monotonic() - start
    scores = score_split(dataset, split, export)
    names = {0: 'unseen', **{domain.id: domain.name
                             for domain in read_manifest(dataset).domains}}
    metrics = domain_metrics(scores.domain, scores.user_key, scores.click, scores.score, names)
    ids = {domain_name: number for number, domain_name in names.items()}
    bins: list[float | None] = []
    for domains in domain_bins({domain_name: of['impressions']
                                for domain_name, of in metrics['domains'].items()}):
        chosen = np.isin(scores.domain, [ids[domain_name] for domain_name in domains])
        bins.append(auc(scores.click[chosen], scores.score[chosen]))
    with open(os.path.join(export, 'model.json'), encoding='utf-8') as file:
        parameters = json.load(file)['parameters']
    return Result(name, train.seed, metrics, bins, seconds, parameters)


def _file_name(method: str) -> str:
    return ''.join(c if c.isalnum() or c in '-_.=,+' else '_' for c in method)


def _read(path: str) -> Any:
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write(path: str, values: Any) -> None:
    with open(path + '.tmp', 'w', encoding='utf-8') as file:
        json.dump(values, file, indent=1)
    os.replace(path + '.tmp', path)
